"""Given: what a caller wrote into `input_data`, under the names that people use. Pure."""

from dataclasses import dataclass
from typing import Any, Final

from moolai.errors import InvalidInput

MAX_TEXTS: Final = 500
MAX_LABELS: Final = 100
ONE: Final = ("text", "content", "document", "transcript")
MANY: Final = ("texts", "documents", "items", "inputs")
LABELS: Final = ("categories", "labels", "classes")
KNOWN: Final = {*ONE, *MANY, *LABELS, "multi_label", "instructions", "model", "participants", "steps"}


@dataclass(frozen=True, slots=True)
class Text:
    """A text to work on, with the id its sender knows it by."""

    id: str
    text: str


def texts(data: dict[str, Any], *, field: str = "input_data") -> list[Text]:
    """Return the texts to work on; raises `invalid_field` where there are none, or something else."""
    for name in MANY:
        if name in data:
            return _many(data[name], f"{field}.{name}")
    for name in ONE:
        if name in data:
            return [Text("0", one(data[name], f"{field}.{name}"))]
    raise InvalidInput(fields={f"{field}.text": "Give a text, or texts."})


def has_texts(data: dict[str, Any]) -> bool:
    """Whether there is anything to work on."""
    return any(name in data for name in (*ONE, *MANY))


def has_labels(data: dict[str, Any]) -> bool:
    """Whether there are categories to choose among."""
    return any(name in data for name in LABELS)


def whole(data: dict[str, Any], *, field: str = "input_data") -> str:
    """Return all that there is to work on as one text; a transcript as lines `speaker: text`."""
    if "transcript" in data:
        return one(data["transcript"], f"{field}.transcript")
    return "\n\n".join(item.text for item in texts(data, field=field))


def one(value: Any, field: str) -> str:
    """Return a text that was given as one, or as a list of what speakers said."""
    if isinstance(value, list) and value:
        value = "\n".join(_line(item, f"{field}.{number}") for number, item in enumerate(value))
    if not isinstance(value, str) or not value.strip():
        raise InvalidInput(fields={field: "Give a text that is not empty."})
    return value


def _line(item: Any, field: str) -> str:
    if isinstance(item, str):
        return item
    if not isinstance(item, dict) or not isinstance(item.get("text"), str):
        raise InvalidInput(fields={field: "Give a text, or an object with `speaker` and `text`."})
    speaker, at = item.get("speaker"), item.get("time", item.get("timestamp"))
    said = f"{speaker}: {item['text']}" if isinstance(speaker, str) and speaker else str(item["text"])
    return f"[{at}] {said}" if isinstance(at, str | int | float) and not isinstance(at, bool) else said


def _many(value: Any, field: str) -> list[Text]:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_TEXTS:
        raise InvalidInput(fields={field: f"Give a list of 1 to {MAX_TEXTS} texts."})
    found = []
    for number, item in enumerate(value):
        name, text = str(number), item
        if isinstance(item, dict):
            text = next((item[key] for key in ("text", "content") if key in item), None)
            name = str(item.get("id", number))[:200]
        if not isinstance(text, str) or not text.strip():
            raise InvalidInput(fields={f"{field}.{number}": "Give a text that is not empty."})
        found.append(Text(name, text))
    return found


def labels(data: dict[str, Any], *, field: str = "input_data") -> list[str]:
    """Return the labels to choose from, empty where the model is to name its own."""
    name = next((name for name in LABELS if data.get(name) is not None), "")
    value = data[name] if name else []
    found = [item.get("name") if isinstance(item, dict) else item for item in value] if isinstance(value, list) else [0]
    if len(found) > MAX_LABELS or not all(isinstance(item, str) and 0 < len(item) <= 200 for item in found):
        raise InvalidInput(fields={f"{field}.{name}": f"Give up to {MAX_LABELS} names."})
    return list(dict.fromkeys(str(item) for item in found))


def flag(data: dict[str, Any], name: str, *, field: str = "input_data") -> bool:
    """Return a switch, off without it."""
    value = data.get(name, False)
    if not isinstance(value, bool):
        raise InvalidInput(fields={f"{field}.{name}": "Write true or false."})
    return value


def text(data: dict[str, Any], name: str, *, most: int, field: str = "input_data") -> str:
    """Return a short text, "" without it."""
    value = data.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > most:
        raise InvalidInput(fields={f"{field}.{name}": f"Write a text of up to {most} characters."})
    return value


def names(data: dict[str, Any], name: str, *, field: str = "input_data") -> list[str]:
    """Return a list of short texts, also of objects with a `name`."""
    value = data.get(name) or []
    found = [item.get("name") if isinstance(item, dict) else item for item in value] if isinstance(value, list) else [0]
    if len(found) > MAX_TEXTS or not all(isinstance(item, str) and len(item) <= 200 for item in found):
        raise InvalidInput(fields={f"{field}.{name}": "Give a list of names."})
    return [str(item) for item in found]


def more(data: dict[str, Any]) -> dict[str, Any]:
    """Return what was given besides: models are told of it as the context."""
    return {name: value for name, value in data.items() if name not in KNOWN}
