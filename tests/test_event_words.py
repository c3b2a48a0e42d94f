"""Every kind of event the product records has its words for the console's lists."""

import ast
from collections.abc import Iterator
from typing import Final

from orchestrators.models import Message, Review, TaskStep
from orgs.admin import sentences
from tests.source import called, texts, trees

ENDINGS: Final = {
    "config.": {"applying", "applied", "failed"},
    "job.": {"queued", "progress", "completed", "failed", "cancelled"},
    "message.": set(Message.Status.values) - {"pending", "sent"},
    "recommendation.": set(Review.Status.values),
    "task.": set(TaskStep.Kind.values) - {"event"},
    "rollout.": {"started", "advanced", "paused", "resumed", "completed", "halted", "cancelled"},
}
"""What a kind that is put together at run time may end with."""


def kinds_given(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield what is given as the kind of an event: to the writers, and to the variable that is handed to them."""
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[ast.Name(id="kind")], value=value):
                yield value
            case ast.Call(args=[first, *_]) if ast.unparse(node.func) == "events.record" or called(node) == "_note":
                yield first
            case ast.Call(keywords=keywords) if called(node) == "Event":
                yield from (word.value for word in keywords if word.arg == "kind")


def read(node: ast.AST) -> set[str]:
    """Return the kinds an expression stands for."""
    match node:
        case ast.JoinedStr(values=[ast.Constant(value=str() as prefix), *_]):
            return {prefix + ending for ending in ENDINGS[prefix]}
        case ast.IfExp(body=one, orelse=other):
            return read(one) | read(other)
    return {text for text in texts(node) if "." in text}


def test_every_recorded_kind_has_words() -> None:
    recorders = [tree for _, tree in trees() if "Event" in (text := ast.unparse(tree)) or "events.record" in text]
    recorded = {kind for tree in recorders for node in kinds_given(tree) for kind in read(node)}
    assert {"organization.deleted", "orchestrator.inactive", "api_key.expiring", "message.expired"} <= recorded
    assert recorded - set(sentences.WORDS) == set()
