"""Trials: a test call to a provider, from a thread, over the same line as real calls; it costs one token at most."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from asgiref.sync import async_to_sync, sync_to_async

from llm_gateway.models import Provider
from llm_gateway.plane import catalog, sending
from llm_gateway.plane.catalog import ECHO, Source
from llm_gateway.plane.upstream import Lines
from llm_gateway.problems import Problem, Refused
from moolai.errors import InvalidInput
from orgs import destinations

SECONDS: Final = 10.0
SHOWN: Final = 200  # characters of an answer
QUESTION: Final = [{"role": "user", "content": "ping"}]


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of a test call; `answer` is the beginning of what the provider said."""

    is_working: bool
    model: str
    error: str
    duration_ms: int
    answer: str = ""


def try_out(row: Provider, *, model: str = "") -> Trial:
    """Ask a provider for one token; raises `invalid_field` where nothing says which model to ask."""
    source = catalog.of_row(row, networks=destinations.allowed_networks(row.organization_id))
    model = _model(model or next(iter(row.known_models), ""), row.dialect)
    if source is None:
        return Trial(False, model, "The stored key cannot be read; enter it again.", 0)
    return _tried(source, model)


def try_environment(source: Source, *, model: str = "") -> Trial:
    """Ask a provider that the environment names; raises as `try_out` does."""
    return _tried(source, _model(model, source.dialect))


def _model(wanted: str, dialect: str) -> str:
    model = wanted or (ECHO if dialect == ECHO else "")
    if not model:
        raise InvalidInput(fields={"model": "The provider names no models: say which one to ask."})
    return model


def _tried(source: Source, model: str) -> Trial:
    began = time.monotonic()
    error, said = ("", QUESTION[0]["content"]) if source.dialect == ECHO else async_to_sync(_ask)(source, model)
    return Trial(not error, model, error, round((time.monotonic() - began) * 1000), said)


def _run(work: Callable[[], Any]) -> Any:
    return work()


async def _ask(source: Source, model: str) -> tuple[str, str]:
    """Return what went wrong, "" when the provider answered, and the beginning of its answer."""
    lines = Lines(sync_to_async(_run, thread_sensitive=False))
    dialect = sending.DIALECTS[source.dialect]
    try:
        async with asyncio.timeout(SECONDS):
            outgoing = dialect.chat(
                {"model": model, "messages": QUESTION, "max_tokens": 1}, model=model, is_stream=False
            )
            async with sending.sent(lines, source, outgoing) as response:
                if response.status not in sending.ANSWERED:
                    return (await sending.problem_of(response, source)).message, ""
                payload = await sending.whole(response)
        found = dialect.answer(sending.parsed(payload), model=model, call_id="trial", created=int(time.time()))
        return (found.message, "") if isinstance(found, Problem) else ("", _said(found))
    except Refused as refused:
        return refused.message, ""
    except sending.BROKEN as error:
        return sending.broken(error).message, ""
    finally:
        await lines.close()


def _said(answer: dict[str, Any]) -> str:
    content = answer["choices"][0].get("message", {}).get("content") if answer.get("choices") else ""
    return str(content or "")[:SHOWN]
