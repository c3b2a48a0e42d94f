"""Running: one prompt through the gateway's data plane, as a chat completion like any other.

The plane reserves, asks, guards, keeps and settles; here its answer is only read along. `Line` is the plane's client.
"""

import json
import logging
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from django.db import DatabaseError, InterfaceError
from django.utils import timezone

from llm_gateway import problems
from llm_gateway.plane import app, desk, ids, noting, planes, refusals
from llm_gateway.plane.callers import Standing
from llm_gateway.plane.clients import Client
from llm_gateway.plane.exchange import Exchange, Gone, Message
from llm_gateway.plane.hearing import Hearing
from llm_gateway.plane.refusals import Failed
from llm_gateway.problems import Problem, Refused, cut_short
from llm_gateway.prompts import asking, book
from llm_gateway.prompts.asking import Document
from llm_gateway.prompts.outcomes import Outcome
from llm_gateway.surfaces import chat
from moolai.errors import AppError

logger = logging.getLogger(__name__)
PATH: Final = "/v1/chat/completions"
PASSED: Final = ("x-moolai-", "traceparent", "tracestate")  # what a request's headers may ask of its call
TOLD: Final = (b"x-moolai-provider", b"x-moolai-cached", b"x-moolai-cost-usd")
Tell = Callable[[str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Plan:
    """A prompt that may be run, and on whose behalf; `asked` None: what the book has of it."""

    prompt_id: str
    standing: Standing | None  # None: only to be followed
    organization_id: str = ""
    asked: Document | None = field(default=None, repr=False)
    is_stream: bool = False
    is_private: bool = False
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    request_id: str = ""


class Line(Client):
    """The client of a prompt's call, which reads its answer along and tells each piece of its text."""

    def __init__(self, body: bytes, *, headers: Mapping[str, str], is_stream: bool, tell: Tell) -> None:
        super().__init__(PATH, body, headers=headers)
        self.is_stream, self.tell = is_stream, tell
        self.headers: dict[bytes, bytes] = {}
        self.hearing = Hearing()
        self._whole: list[bytes] = []

    async def send(self, message: Message) -> None:
        """Hear the answer (ASGI)."""
        if message["type"] == "http.response.start":
            self.headers = dict(message["headers"])
        elif not self.is_stream:
            self._whole.append(message.get("body", b""))
        else:
            for piece in self.hearing.feed(message.get("body", b"")):
                await self.tell(piece)

    def read_whole(self) -> None:
        """Read an answer that came as a whole."""
        self.hearing.read_whole(b"".join(self._whole))


async def silent(piece: str) -> None:
    """Tell nobody."""


class Run:
    """One prompt on its way; `leave` cuts it off."""

    def __init__(self, plan: Plan, *, tell: Tell = silent) -> None:
        self.plan, self.tell = plan, tell
        self.line: Line | None = None
        self._has_left = False

    def leave(self) -> None:
        """Note that the client left."""
        self._has_left = True
        if self.line is not None:
            self.line.leave()

    async def run(self) -> Outcome | None:
        """Run the prompt and write down how it ended; None where it was begun elsewhere already."""
        plan, call_id = self.plan, ids.new()
        assert plan.standing is not None  # one that is only to be followed is not run
        if not await desk.run(lambda: book.claim(plan.prompt_id, call_id=call_id, now=timezone.now())):
            return None
        asked = plan.asked if plan.asked is not None else await desk.run(lambda: book.asked(plan.prompt_id))
        outcome = Outcome(call_id=call_id)
        if asked is None:
            text = "What was asked is not kept any more; send the prompt again."
            self._fail(outcome, Problem(409, "invalid_request_error", text, code="conflict"))
        else:
            await self._call(asked, outcome, plan.standing)
        await self._write(outcome)
        return outcome

    async def _call(self, asked: Document, outcome: Outcome, standing: Standing) -> None:
        plan = self.plan
        body = json.dumps(asking.body(asked, is_stream=plan.is_stream), ensure_ascii=False).encode()
        self.line = line = Line(body, headers=_passed(plan), is_stream=plan.is_stream, tell=self.tell)
        if self._has_left:
            line.leave()
        exchange = line.exchange(request_id=plan.request_id, call_id=outcome.call_id)
        exchange.organization_id = standing.organization_id
        try:
            plane = planes.current()
            await plane.ready()
            await app.call(exchange, plane, standing, chat)
        except Failed as failure:
            outcome.headers, outcome.is_final = failure.headers, failure.is_final
            self._fail(outcome, failure.problem)
        except (Refused, AppError) as refused:
            self._fail(outcome, refused.problem if isinstance(refused, Refused) else refusals.of(refused))
        except Gone:
            pass
        except Exception as error:
            frames = "".join(traceback.format_tb(error.__traceback__))  # its own words may hold a prompt
            logger.error("a prompt failed: %s\n%s", type(error).__name__, frames)
            self._fail(outcome, refusals.of(AppError("internal_error")))
        self._hear(exchange, outcome)

    def _hear(self, exchange: Exchange, outcome: Outcome) -> None:
        """Take over what the call came to and said."""
        line = self.line
        if exchange.account is not None:
            outcome.take(exchange.account)
        elif outcome.problem is not None:
            noting.refused(exchange, outcome.problem)
        if line is None:
            return
        if outcome.problem is None and outcome.status == "completed" and not line.is_stream:
            line.read_whole()
        heard = line.hearing
        if heard.problem is not None and outcome.problem is None:
            outcome.problem, outcome.status = heard.problem, "failed"
            outcome.error = outcome.error or problems.written(heard.problem.code or "", is_private=self.plan.is_private)
        if outcome.problem is None and outcome.status == "failed":
            outcome.problem = cut_short()
        outcome.text, outcome.finish_reason = heard.text, heard.finish_reason
        outcome.headers += [(name, line.headers[name]) for name in TOLD if name in line.headers]

    def _fail(self, outcome: Outcome, problem: Problem) -> None:
        outcome.problem = problem
        outcome.error = problems.written(refusals.own_code(problem), is_private=self.plan.is_private)

    async def _write(self, outcome: Outcome) -> None:
        """Write the end down; where the database is away the row is settled later, from the ledger."""
        try:
            await desk.run(lambda: book.finish(self.plan.prompt_id, outcome))
        except (DatabaseError, InterfaceError, TimeoutError, OSError):
            logger.warning("the end of the prompt %s waits for the ledger", self.plan.prompt_id)


def _passed(plan: Plan) -> dict[str, str]:
    return {name: text for name, text in plan.headers.items() if name.lower().startswith(PASSED)}
