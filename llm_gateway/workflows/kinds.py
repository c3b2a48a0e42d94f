"""Kinds of steps, and the types of workflow that everybody has: what they take and what comes out. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from moolai.errors import InvalidInput

CLASSIFICATION: Final = "classification"
MEETING: Final = "meeting_intelligence"
EMBEDDING: Final = "embedding"
HYBRID: Final = "hybrid"
PROMPT: Final = "prompt"
TEXT_INPUT: Final = "One text (also `content`, `document`)."
TEXTS_INPUT: Final = "Up to 500 texts, or objects with `id` and `text` (also `documents`, `items`)."
MODEL_INPUT: Final = "A model or an alias; without it the installation's default, else the first that is set up."


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of workflow: what `input_data` may have, and the names that `expected_outputs` chooses among."""

    name: str
    description: str
    inputs: Mapping[str, str]
    outputs: tuple[str, ...]


KINDS: Final[Mapping[str, Kind]] = {
    kind.name: kind
    for kind in (
        Kind(
            CLASSIFICATION,
            "Puts texts into categories.",
            {
                "text": TEXT_INPUT,
                "texts": TEXTS_INPUT,
                "categories": "The labels to choose from (also `labels`); without them the model names its own.",
                "multi_label": "Whether a text may have several.",
                "instructions": "What to look at.",
                "model": MODEL_INPUT,
            },
            ("label", "labels", "confidence", "reason"),
        ),
        Kind(
            MEETING,
            "Reads a transcript: summary, decisions, action items with owners and dates, topics.",
            {
                "transcript": "A text, or a list of objects with `speaker` and `text`.",
                "participants": "Who was there: owners are looked for among them, too.",
                "instructions": "What to look at.",
                "model": MODEL_INPUT,
            },
            ("summary", "decisions", "action_items", "topics"),
        ),
        Kind(
            EMBEDDING,
            "Turns texts into vectors.",
            {"text": TEXT_INPUT, "texts": TEXTS_INPUT, "model": MODEL_INPUT},
            ("embeddings", "model", "dimensions"),
        ),
        Kind(
            HYBRID,
            "Does several steps side by side; what fails leaves the others' results.",
            {"steps": "Kinds of steps, or steps as templates have them; without it those that fit the input."},
            (),
        ),
    )
}
SYNONYMS: Final = {
    "category": "label",
    "class": "label",
    "classification": "label",
    "categories": "labels",
    "actions": "action_items",
    "embedding": "embeddings",
    "vectors": "embeddings",
}


def outputs(kind: str, wanted: Sequence[str], *, field: str = "expected_outputs") -> tuple[str, ...]:
    """Return which outputs of a kind are wanted, all without a wish; raises `invalid_field` for one it has not."""
    offered = KINDS[kind].outputs
    if not wanted or not offered:
        return offered
    found = tuple(dict.fromkeys(name if name in offered else SYNONYMS.get(name, name) for name in wanted))
    if unknown := [name for name in found if name not in offered]:
        text = f"{kind} has no output {unknown[0][:50]!r}; it has {', '.join(offered)}."
        raise InvalidInput(fields={field: text})
    return found


def classification_schema(labels: Sequence[str], *, is_multi: bool) -> dict[str, Any]:
    """Return the schema of the answer for a batch of texts: one item for each, by its number."""
    label: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": 200}
    if labels:
        label["enum"] = list(labels)
    one: dict[str, Any] = {
        "index": {"type": "integer", "minimum": 0},
        "labels": {"type": "array", "items": label, "maxItems": 20 if is_multi else 1},
        "confidence": {"type": "number", "minimum": 0, "maximum": 1},
        "reason": {"type": "string", "maxLength": 1000},
    }
    if not is_multi:
        one["labels"]["minItems"] = 1
    item = {"type": "object", "properties": one, "required": list(one), "additionalProperties": False}
    return _object({"items": {"type": "array", "items": item}})


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object", "properties": properties, "required": list(properties), "additionalProperties": False,
    }  # fmt: skip


_NOBODY: Final = {"type": ["string", "null"], "maxLength": 200}
_TEXT: Final = {"type": "string", "minLength": 1, "maxLength": 2000}
MEETING_PARTS: Final[Mapping[str, dict[str, Any]]] = {
    "summary": {"type": "string", "minLength": 1, "maxLength": 20_000},
    "decisions": {"type": "array", "items": _object({"decision": _TEXT, "by": _NOBODY})},
    "action_items": {"type": "array", "items": _object({"task": _TEXT, "owner": _NOBODY, "due": _NOBODY})},
    "topics": {"type": "array", "items": {"type": "string", "minLength": 1, "maxLength": 300}},
}


def meeting_schema(wanted: Sequence[str]) -> dict[str, Any]:
    """Return the schema of what is asked of a transcript."""
    return _object({name: MEETING_PARTS[name] for name in wanted})
