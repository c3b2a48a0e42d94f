"""Plans: the steps of a workflow, checked and in order; templates are lists of the same steps. Pure."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from llm_gateway.workflows import filling, given, kinds
from llm_gateway.workflows.kinds import CLASSIFICATION, EMBEDDING, HYBRID, KINDS, MEETING, PROMPT
from moolai.errors import InvalidInput
from orchestrators.configuration import schemas

MAX_STEPS: Final = 20
MAX_PROMPT: Final = 50_000
MAX_TOKENS: Final = 32_000
KINDS_OF_STEPS: Final = (PROMPT, CLASSIFICATION, MEETING, EMBEDDING)
REFERRING: Final = ("prompt", "system", "input")  # texts of a step that may refer to others
COMMON: Final = ("name", "type", "input", "model", "after")
FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    PROMPT: (*COMMON, "prompt", "system", "schema", "max_tokens", "temperature"),
    CLASSIFICATION: (*COMMON, "categories", "multi_label", "instructions"),
    MEETING: (*COMMON, "instructions", "outputs"),
    EMBEDDING: COMMON,
}
TEXTS: Final = {"prompt": MAX_PROMPT, "system": MAX_PROMPT, "input": MAX_PROMPT, "instructions": 5_000, "model": 256}
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,49}")
Step = dict[str, Any]
Plan = list[Step]


def of_kind(kind: str, data: dict[str, Any]) -> Plan:
    """Return the steps of a type that everybody has; raises `invalid_field` for an input that it cannot use."""
    if kind != HYBRID:
        check(kind, data)
        return [_step(kind, kind)]
    if "steps" in data:
        found = parse(data["steps"], field="input_data.steps")
    else:
        is_meeting = "transcript" in data
        is_sorted = given.has_labels(data) if is_meeting else given.has_texts(data)
        fitting = {MEETING: is_meeting, CLASSIFICATION: is_sorted, EMBEDDING: given.has_texts(data)}
        found = [_step(name, name) for name, is_wanted in fitting.items() if is_wanted]
    if not found or (any(not step.get("input") and step["type"] != PROMPT for step in found)):
        given.texts(data)
    return found


def check(kind: str, data: dict[str, Any], *, field: str = "input_data") -> None:
    """Look at an input before anything is queued; raises `invalid_field`."""
    if kind == MEETING:
        given.whole(data, field=field)
        given.names(data, "participants", field=field)
    else:
        given.texts(data, field=field)
    if kind == CLASSIFICATION:
        given.labels(data, field=field)
        given.flag(data, "multi_label", field=field)
    given.text(data, "instructions", most=TEXTS["instructions"], field=field)
    given.text(data, "model", most=TEXTS["model"], field=field)


def parse(wanted: Any, *, field: str = "steps") -> Plan:
    """Return the steps of a template as they are kept; raises `invalid_field`, which names each place."""
    if not isinstance(wanted, list) or not 1 <= len(wanted) <= MAX_STEPS:
        raise InvalidInput(fields={field: f"Write a list of 1 to {MAX_STEPS} steps."})
    found: Plan = []
    wrong: dict[str, str] = {}
    for number, item in enumerate(wanted):
        try:
            found.append(_parsed(item, number, [step["name"] for step in found], f"{field}.{number}"))
        except InvalidInput as problem:
            wrong |= problem.fields
    if wrong:
        raise InvalidInput(fields=wrong)
    return found


def _parsed(item: Any, number: int, before: list[str], field: str) -> Step:
    if isinstance(item, str):
        item = {"type": item}
    if not isinstance(item, dict) or item.get("type") not in KINDS_OF_STEPS:
        raise InvalidInput(fields={f"{field}.type": f"Write one of {', '.join(KINDS_OF_STEPS)}."})
    kind = item["type"]
    if unknown := [str(name)[:50] for name in item if name not in FIELDS[kind]]:
        raise InvalidInput(fields={f"{field}.{unknown[0]}": f"A {kind} step has {', '.join(FIELDS[kind])}."})
    name = item.get("name", kind if kind not in before else f"{kind}_{number + 1}")
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise InvalidInput(fields={f"{field}.name": "Up to 50 letters, digits, dashes or underscores."})
    if name in before:
        raise InvalidInput(fields={f"{field}.name": "Another step has this name."})
    _check_texts(item, field)
    step = {**item, "name": name, "type": kind}
    step["after"] = _needs(item, before, field)
    _CHECKS[kind](step, field)
    return step


def _check_texts(item: Step, field: str) -> None:
    for name, most in TEXTS.items():
        text = given.text(item, name, most=most, field=field)
        if place := filling.wrong(text):
            known = "{{text}}, {{input.…}} and {{steps.…}}"
            raise InvalidInput(fields={f"{field}.{name}": f"There is no {{{{{place[:50]}}}}}: write {known}."})
        if len(filling.places(text)) > filling.MAX_PLACES:
            raise InvalidInput(fields={f"{field}.{name}": f"Write up to {filling.MAX_PLACES} {{{{…}}}} into a text."})


def _needs(item: Step, before: list[str], field: str) -> list[str]:
    """Return the steps that have to be over first: those it names, and those its texts refer to."""
    named = item.get("after", [])
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise InvalidInput(fields={f"{field}.after": "Write a list of names of steps."})
    written = [("after", name) for name in named]
    written += [(part, name) for part in REFERRING for name in filling.needs(item.get(part) or "")]
    wrong = {part: name for part, name in reversed(written) if name not in before}
    if wrong:
        told = {f"{field}.{part}": f"No step before this one is called {name[:50]!r}." for part, name in wrong.items()}
        raise InvalidInput(fields=told)
    return list(dict.fromkeys(name for _, name in written))


def _check_prompt(step: Step, field: str) -> None:
    if not given.text(step, "prompt", most=MAX_PROMPT, field=field).strip():
        raise InvalidInput(fields={f"{field}.prompt": "Write what the model is asked."})
    tokens, heat = step.get("max_tokens", 1), step.get("temperature", 0)
    if type(tokens) is not int or not 1 <= tokens <= MAX_TOKENS:
        raise InvalidInput(fields={f"{field}.max_tokens": f"Write a number from 1 to {MAX_TOKENS}."})
    if type(heat) not in (int, float) or not 0 <= heat <= 2:
        raise InvalidInput(fields={f"{field}.temperature": "Write a number from 0 to 2."})
    if "schema" not in step:
        return
    if not isinstance(step["schema"], dict) or step["schema"].get("type") != "object":
        raise InvalidInput(fields={f"{field}.schema": 'Write a JSON schema with "type": "object".'})
    if found := schemas.problems(step["schema"]):
        raise InvalidInput(fields={f"{field}.schema": found[0]["problem"]})


def _check_classification(step: Step, field: str) -> None:
    given.labels(step, field=field)
    given.flag(step, "multi_label", field=field)


def _check_meeting(step: Step, field: str) -> None:
    wanted = step.get("outputs", [])
    if not isinstance(wanted, list) or not all(isinstance(name, str) for name in wanted):
        raise InvalidInput(fields={f"{field}.outputs": "Write a list of names."})
    kinds.outputs(MEETING, wanted, field=f"{field}.outputs")


_CHECKS: Final[Mapping[str, Callable[[Step, str], None]]] = {
    PROMPT: _check_prompt,
    CLASSIFICATION: _check_classification,
    MEETING: _check_meeting,
    EMBEDDING: lambda step, field: None,
}


def following(plan: Plan, names: Sequence[str]) -> set[str]:
    """Return these steps, and those that need one of them, at once or through others."""
    found = set(names)
    for step in plan:  # a step stands after those it needs
        if not found.isdisjoint(step["after"]):
            found.add(step["name"])
    return found


def _step(name: str, kind: str) -> Step:
    return {"name": name, "type": kind, "after": []}


def wanted(plan: Plan, expected: Sequence[str], *, kind: str) -> list[str]:
    """Return the steps whose results are wanted; raises `invalid_field` for an expected output that there is not.

    A type that everybody has but hybrid has one step, whose outputs are chosen among; else steps are chosen by name.
    """
    names = [step["name"] for step in plan]
    if kind in KINDS and kind != HYBRID:
        kinds.outputs(kind, expected)
        return names
    if unknown := [name for name in expected if name not in names]:
        text = f"There is no step {unknown[0][:50]!r}; there are {', '.join(names)}."
        raise InvalidInput(fields={"expected_outputs": text})
    return list(expected) or names


def needed(plan: Plan, names: Sequence[str]) -> set[str]:
    """Return the steps that have to run for these to come about."""
    found, by_name = set(), {step["name"]: step for step in plan}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += by_name[name]["after"]
    return found
