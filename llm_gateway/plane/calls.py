"""A call: reserve, ask one provider after another until one answers, relay, settle. One life, whatever happens.

Retries and other providers come only before the first byte is sent to the client. When the client leaves, the block is
cancelled wherever it stands: the connection to the provider is cut and the call settled on the way out.
"""

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from django.conf import settings

from llm_gateway.guardrails import checking
from llm_gateway.plane import relay, sending
from llm_gateway.plane.accounts import Account, Trial
from llm_gateway.plane.deadlines import Deadlines
from llm_gateway.plane.exchange import EVENTS, JSON, Departure, Exchange
from llm_gateway.plane.posting import Answer, Body
from llm_gateway.plane.refusals import Failed
from llm_gateway.plane.relay import Order
from llm_gateway.plane.routing import Target
from llm_gateway.problems import Problem, Refused, bad_answer, cut_short
from llm_gateway.retrying import NO_RETRY

if TYPE_CHECKING:
    from llm_gateway.plane.planes import Plane

Envelope = Callable[[bytes, Target], bytes]
FIRST_WAIT_SECONDS: Final = 0.25
MAX_WAIT_SECONDS: Final = 4.0
MAX_RETRY_AFTER_SECONDS: Final = 10.0
FINAL: Final = frozenset({400, 413, 422})  # another provider would say the same
REPEATABLE: Final = frozenset({408, 409, 429, 500, 502, 503, 529})
SPARE_SECONDS: Final = 5.0  # for a client to take what it is told at the end
LINGER_SECONDS: Final = 0.5
START_SECONDS: Final = 1.0  # before a provider is taken to begin with an answer that nobody saw …
TOKENS_PER_SECOND: Final = 100  # … and what it makes of it then
PROVIDER: Final = b"x-moolai-provider"
COST: Final = b"x-moolai-cost-usd"
CACHED: Final = (b"x-moolai-cached", b"false")
BAD: Final = "bad_provider_answer"


class Call:
    """One call on its way."""

    def __init__(
        self, plane: "Plane", exchange: Exchange, order: Order, account: Account, *, envelop: Envelope | None = None
    ) -> None:
        self.plane, self.exchange, self.order, self.account = plane, exchange, order, account
        self.envelop = envelop
        wishes = order.wishes
        self.seconds = settings.LLM_TOTAL_SECONDS if wishes.seconds is None else wishes.seconds
        self.retries = settings.LLM_RETRIES if wishes.retries is None else wishes.retries
        self.ends_at = time.monotonic() + self.seconds

    async def run(self, targets: list[Target]) -> None:
        """Answer the client; raises Failed when nobody could, and Refused for what nobody may be asked."""
        self.departure, self.deadlines = Departure(self.exchange), Deadlines()
        try:
            async with self.departure:
                with self.deadlines.within(self.seconds + SPARE_SECONDS):
                    await self._ask(targets)
        except Failed as failure:
            self.account.fail(failure.problem.code or failure.problem.kind)
            raise
        except Refused as refusal:
            self.account.fail(refusal.code or "invalid_request_error")
            raise
        except TimeoutError:
            self.account.fail("provider_timeout")
            raise Failed(sending.broken(TimeoutError())) from None
        except BaseException:
            self.account.fail("interrupted")  # this process ends, or something broke on our side
            raise
        finally:
            if self.departure.has_left:
                self.account.leave()
            self.account.close()

    # --- who is asked -----------------------------------------------------------------------------------------------

    async def _ask(self, targets: list[Target]) -> None:
        problem, open_keys = None, []
        for target in targets:
            if self.plane.breakers.is_open(target.key):
                open_keys.append(target.key)
                continue
            problem = await self._ask_one(target)
            if problem is None:
                return
            if problem.status in FINAL or time.monotonic() >= self.ends_at:
                break
        if problem is None:
            wait = min((self.plane.breakers.seconds_left(key) for key in open_keys), default=1.0)
            text = "Every provider of this model fails at the moment; try again later."
            problem = Problem(503, "api_error", text, code="provider_unavailable", retry_after=max(1.0, wait))
        raise Failed(problem)

    async def _ask_one(self, target: Target) -> Problem | None:
        """Ask one provider, more than once where that may help; return None once the client has its answer."""
        self.plane.gaps.apply(self.order, target)
        outgoing = None if relay.is_echo(target) else self.order.outgoing(target)
        problem: Problem | None = None
        for number in range(self.retries + 1):
            if number and not await self._wait(problem, number):
                break
            if not self.plane.breakers.enter(target.key):
                break
            problem = await self._try(target, outgoing)
            if problem is not None and self.plane.gaps.learn(self.order, target, problem):
                outgoing = self.order.outgoing(target)
                problem = await self._try(target, outgoing)
            if problem is None or problem.status not in REPEATABLE or problem.code in (*NO_RETRY, BAD):
                break
        return problem

    async def _wait(self, problem: Problem | None, number: int) -> bool:
        """Wait before the next try; false when the provider wants to be left alone for longer than a call lasts."""
        seconds = min(MAX_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2 ** (number - 1)) * random.uniform(0.5, 1.0)
        if problem is not None and problem.retry_after is not None:
            if problem.retry_after > MAX_RETRY_AFTER_SECONDS:
                return False
            seconds = max(seconds, problem.retry_after)
        if time.monotonic() + seconds >= self.ends_at:
            return False
        await asyncio.sleep(seconds)
        return True

    async def _try(self, target: Target, outgoing: Any) -> Problem | None:
        attempt = self.account.attempt(target)
        body = None if outgoing is None else sending.body(outgoing)
        problem: Problem | None = None
        try:
            if outgoing is None:
                problem = await self._echo(target)
            else:
                problem = await self._exchange(target, outgoing, body, attempt)
        except sending.BROKEN as error:
            if self.exchange.status:
                raise
            if isinstance(error, sending.CUT):
                self._owe(target, body, attempt)
            problem = sending.broken(error)
        except BaseException:
            self._owe(target, body, attempt)
            self.plane.breakers.leave(target.key)
            attempt.end("interrupted")
            raise
        self._judge(target, problem)
        attempt.end("" if problem is None else problem.code or problem.kind, problem.status if problem else 200)
        return problem

    def _owe(self, target: Target, body: Body | None, attempt: Trial) -> None:
        """Count a request that we cut off before anything was sent on; what the provider broke off is free.

        Where the caller had it cut off, the provider bills what it made until then, and nobody saw how much that was:
        so much counts for each second, and at most as much as was reserved.
        """
        if body is None or not body.was_sent or self.exchange.status:
            return
        is_callers = self.departure.has_left or self.order.wishes.seconds is not None
        seconds = time.monotonic() - attempt.began_at - START_SECONDS if is_callers else 0
        made = int(max(0, seconds) * TOKENS_PER_SECOND) * self.order.asked.choices
        self.account.owe(target, output_tokens=made)

    def _judge(self, target: Target, problem: Problem | None) -> None:
        if problem is not None and problem.code == "provider_timeout" and self.order.wishes.seconds is not None:
            self.plane.breakers.leave(target.key)  # whoever is in a hurry says nothing about the provider
            return
        if problem is None or (problem.status < 500 and problem.status not in (408, 429)):
            self.plane.breakers.succeed(target.key)
        else:
            self.plane.breakers.fail(target.key)

    # --- one request ------------------------------------------------------------------------------------------------

    def _left(self, seconds: float) -> float:
        """Return how long a step may take: `seconds`, or what is left of the call."""
        return max(0.0, min(seconds, self.ends_at - time.monotonic()))

    async def _exchange(self, target: Target, outgoing: Any, body: Body | None, attempt: Trial) -> Problem | None:
        with self.deadlines.within(self._left(settings.LLM_FIRST_BYTE_SECONDS)) as limit:
            async with sending.sent(self.plane.lines, target.source, outgoing, body) as response:
                attempt.answered = response.status
                attempt.provider_request_id = sending.request_id(response, target.source)
                if response.status not in sending.ANSWERED:
                    return self._unread(target, await sending.problem_of(response, target.source))
                if self.order.asked.is_stream:
                    limit.lift()  # from here on each part has a limit of its own
                    return await self._stream(target, response)
                limit.renew(self._left(settings.LLM_FIRST_BYTE_SECONDS))
                content = await sending.whole(response, lambda: limit.renew(self._left(settings.LLM_IDLE_SECONDS)))
        answer = relay.whole(self.order, target, content)
        if isinstance(answer, Problem):
            return self._unread(target, answer, size=len(content))
        return await self._answer(target, answer)

    def _unread(self, target: Target, problem: Problem, *, size: int = 0) -> Problem:
        """Count an answer of `size` bytes that makes no sense: its provider has most likely made it, and bills it."""
        if problem.code == BAD:
            self.account.owe(target, output_tokens=-(-size // relay.CHARACTERS_PER_TOKEN))
        return problem

    async def _answer(self, target: Target, answer: relay.Whole) -> Problem | None:
        """Give the answer; return the problem that a guardrail does not let it pass: it is paid for then."""
        self.account.first_token()
        if answer.is_pending:
            self.account.use_all(target)
        else:
            self.account.use(target, answer.usage, is_estimated=answer.is_estimated)
        if self.order.guard:
            found = await checking.answer(self.order.guard, answer.content)
            if isinstance(found, Problem):
                return found
            answer.content = found
        if self.order.recording is not None:
            self.order.recording.add(answer.content)
        headers = [JSON, (PROVIDER, target.source.name.encode()), CACHED, (COST, self.account.cost_usd.encode())]
        content = self.envelop(answer.content, target) if self.envelop is not None else answer.content
        await self.exchange.answer(200, content, headers)
        return None

    async def _stream(self, target: Target, response: Answer) -> Problem | None:
        """Relay a stream; a problem before its first byte is returned, a later one is told the client in a frame."""
        if response.content_type == "application/json":
            text = "The provider answered with a whole where a stream was asked for."
            return self._unread(target, bad_answer(text), size=response.content_length or 0)
        passing = relay.stream(self.order, target)
        try:
            problem = await self._pass_on(target, passing, response.content)
        except sending.BROKEN as error:
            if not self.exchange.status:
                raise
            problem = sending.broken(error) if isinstance(error, TimeoutError) else cut_short()
        finally:
            if self.exchange.status or getattr(passing, "is_refused", False):
                self._use_stream(target, passing)
        if problem is None:
            await self._use_up(response.content)
        elif self.exchange.status:
            await self._break(passing, problem)
        if problem is None or self.exchange.status:
            return None
        return problem if getattr(passing, "is_refused", False) else self._unread(target, problem)

    async def _pass_on(self, target: Target, passing: Any, content: aiohttp.StreamReader) -> Problem | None:
        """Send on what comes; return what went wrong on the provider's side, None when its stream ended well."""
        seconds: float = settings.LLM_FIRST_BYTE_SECONDS
        while True:
            with self.deadlines.within(self._left(seconds)):
                data = await content.readany()
            part = passing.feed(data)
            is_last = not data or passing.is_done
            if is_last:
                part = self._priced(target, passing, part + passing.finish())
            is_end = is_last and passing.problem is None
            if part or is_end:
                await self._write(target, part, is_last=is_end)
                seconds = settings.LLM_IDLE_SECONDS
            if passing.problem is not None:
                return sending.clean(passing.problem, target.source)
            if is_last:
                return None

    def _priced(self, target: Target, passing: Any, part: bytes) -> bytes:
        """Return the last part of a stream with what the call cost in a comment, where that was asked for."""
        if not self.order.wishes.tells_cost or passing.problem is not None:
            return part
        self._use_stream(target, passing)
        return relay.commented(part, f"{COST.decode()}={self.account.cost_usd}")

    async def _write(self, target: Target, part: bytes, *, is_last: bool = False) -> None:
        if not self.exchange.status:
            self.account.first_token()
            await self.exchange.begin(200, [EVENTS, (PROVIDER, target.source.name.encode()), CACHED])
        if self.order.recording is not None:
            self.order.recording.add(part)
        await (self.exchange.end(part) if is_last else self.exchange.write(part))

    async def _use_up(self, content: aiohttp.StreamReader) -> None:
        """Read the end of a stream whose end mark has come, so that its connection can be used again."""
        with suppress(*sending.BROKEN), self.deadlines.within(LINGER_SECONDS):
            while not content.at_eof() and await content.readany():
                pass

    async def _break(self, passing: Any, problem: Problem) -> None:
        """End a stream that broke with an error frame: never as if it had come to its end."""
        self.account.fail(problem.code or problem.kind)
        await self.exchange.write(passing.error(problem))
        await self.exchange.end()

    def _use_stream(self, target: Target, passing: Any) -> None:
        if passing.usage is not None and passing.is_done:
            self.account.use(target, passing.usage, is_estimated=False)
        else:
            usage = relay.estimate(self.order, passing.output_characters, said=passing.usage)
            self.account.use(target, usage, is_estimated=True)

    async def _echo(self, target: Target) -> Problem | None:
        if not self.order.asked.is_stream:
            return await self._answer(target, relay.echoed(self.order))
        passing = relay.echo_stream(self.order)
        try:
            async for part in passing.parts():
                if part:
                    await self._write(target, self._priced(target, passing, part) if passing.is_done else part)
            if passing.problem is None:
                await self.exchange.end()
            elif self.exchange.status:
                await self._break(passing, passing.problem)
            return passing.problem if not self.exchange.status else None
        finally:
            self._use_stream(target, passing)
