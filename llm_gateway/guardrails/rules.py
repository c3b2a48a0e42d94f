"""Rules: what an organization wrote, checked, and made into guards. Pure.

A rule is {"name", "kind": "redact" | "deny", "on": ["request", "answer"], …}: `redact` has `detect` (kinds of finds)
and `action` (redact, block), `deny` has `words`. All lists of words are asked first, on the text as it came.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import orjson

from llm_gateway.guardrails import words
from llm_gateway.guardrails.detectors import DETECTORS
from llm_gateway.guardrails.guard import Guard
from llm_gateway.guardrails.words import Words

Rule = Mapping[str, Any]
MAX_RULES: Final = 20
MAX_WORDS: Final = 500  # of one list
MAX_ALL_WORDS: Final = 1_000  # of all lists of an organization: every text of its calls is compared with them
MAX_NAME: Final = 60
SIDES: Final = ("request", "answer")
ACTIONS: Final = ("redact", "block")
_FIELDS: Final = {"redact": {"name", "kind", "on", "detect", "action"}, "deny": {"name", "kind", "on", "words"}}


@dataclass(frozen=True, slots=True)
class Guards:
    """What holds for an organization's requests and for the answers; `stamp` changes with the rules."""

    request: Guard
    answer: Guard
    stamp: str


def normal(wanted: Sequence[Any]) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Return the rules with what they leave out, and what is wrong with them by place (`rules.0.words`)."""
    found: list[dict[str, Any]] = []
    wrong: dict[str, str] = {}
    if len(wanted) > MAX_RULES:
        return [], {"rules": f"Write at most {MAX_RULES} rules."}
    for place, given in enumerate(wanted):
        rule = _filled(given) if isinstance(given, dict) else {}
        problems = _problems(rule)
        if rule and rule["name"] in [other.get("name") for other in found]:  # anything, as yet: not all have a hash
            problems.setdefault("name", "Another rule has this name.")
        wrong |= {f"rules.{place}.{name}" if name else f"rules.{place}": text for name, text in problems.items()}
        found.append(rule)
    if not wrong and (count := sum(len(rule.get("words", ())) for rule in found)) > MAX_ALL_WORDS:
        wrong["rules"] = f"Write at most {MAX_ALL_WORDS} words and phrases in all lists together; these are {count}."
    return found, wrong


def _filled(given: dict[str, Any]) -> dict[str, Any]:
    rule = {"name": "", "kind": "", "on": list(SIDES), **given}
    if rule["kind"] == "redact":
        rule = rule | {"detect": rule.get("detect", list(DETECTORS)), "action": rule.get("action", "redact")}
    return rule


def _problems(rule: dict[str, Any]) -> dict[str, str]:
    kind = rule.get("kind")
    if not isinstance(kind, str) or kind not in _FIELDS:
        return {"kind": "Choose redact or deny."} if rule else {"": "A rule is an object."}
    found = dict.fromkeys(rule.keys() - _FIELDS[kind], "unknown field")
    name = rule["name"]
    if not isinstance(name, str) or not name.strip() or len(name) > MAX_NAME or not name.isprintable():
        found["name"] = f"Name the rule, in at most {MAX_NAME} characters: who is blocked is told the name."
    if not _is_some(rule["on"], SIDES):
        found["on"] = "Choose request, answer or both."
    if kind == "redact":
        if not _is_some(rule["detect"], DETECTORS):
            found["detect"] = f"Choose among {', '.join(DETECTORS)}."
        if rule["action"] not in ACTIONS:
            found["action"] = "Choose redact or block."
        return found
    entries = rule.get("words")
    if not isinstance(entries, list) or not 1 <= len(entries) <= MAX_WORDS:
        return found | {"words": f"Write 1 to {MAX_WORDS} words or phrases."}
    wrong = {f"words.{place}": text for place, entry in enumerate(entries) if (text := words.problem(entry))}
    return found | wrong


def _is_some(value: Any, known: Sequence[str] | Mapping[str, Any]) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, str) and one in known for one in value)


def compiled(found: Sequence[Rule]) -> Guards | None:
    """Return the guards of an organization's rules, None without any; the same rules are compiled once."""
    return _compiled(orjson.dumps(found)) if found else None


@lru_cache(maxsize=1024)
def _compiled(written: bytes) -> Guards:
    found = orjson.loads(written)
    stamp = hashlib.sha256(written).hexdigest()[:16]
    return Guards(_guard(found, "request"), _guard(found, "answer"), stamp)


def _guard(found: Sequence[Rule], side: str) -> Guard:
    here = [rule for rule in found if side in rule["on"]]
    redacts = {
        kind for rule in here if rule["kind"] == "redact" and rule["action"] == "redact" for kind in rule["detect"]
    }
    blocking = [rule for rule in here if rule["kind"] == "redact" and rule["action"] == "block"]
    blocks = {kind: str(rule["name"]) for rule in reversed(blocking) for kind in rule["detect"]}
    denies = [(str(rule["name"]), Words(rule["words"])) for rule in here if rule["kind"] == "deny"]
    entries = [entry for rule in here if rule["kind"] == "deny" for entry in rule["words"]]
    return Guard(frozenset(redacts), blocks, denies, max(map(words.reach, entries), default=0))
