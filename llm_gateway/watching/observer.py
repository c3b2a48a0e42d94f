"""The observer of one process's calls: is told when one begins and when it is over, and hands on what is to be told."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from django.utils import timezone

from llm_gateway.watching import counts, spans, tracer
from llm_gateway.watching.contents import Heard, Room
from llm_gateway.watching.keeper import Keeper
from llm_gateway.watching.refused import Refused
from llm_gateway.watching.spans import Tail

if TYPE_CHECKING:
    from llm_gateway.plane.accounts import Account
    from llm_gateway.plane.catalog import Policy
    from llm_gateway.plane.exchange import Exchange
    from llm_gateway.plane.routing import Target

CONTEXT: Final = ("traceparent", "tracestate")
NO_PARENT: Final[Mapping[str, str]] = {}


class Watch:
    """What is watched of one call."""

    __slots__ = ("asked", "heard", "is_private", "observer", "parent", "tail")

    def __init__(self, observer: "Observer", *, is_private: bool = False) -> None:
        self.observer, self.is_private = observer, is_private
        self.asked: Target | None = None
        self.heard: Heard | None = None
        self.tail: Tail | None = None
        self.parent: Mapping[str, str] = NO_PARENT

    def tried(self, target: "Target", error: str, http_status: int | None) -> None:
        """Note a request to a provider that is over."""
        found = counts.COUNTS.provider(label(target))
        found.attempts[counts.result(error, http_status)] += 1
        found.retries += target is self.asked
        self.asked = target

    def close(self, account: "Account") -> None:
        """Hand on what is to be told of a call that is over."""
        counts.COUNTS.in_flight -= 1
        self._count(account)
        if self.heard is not None:
            self.heard.close()
            self.observer.keeper.put(self.heard)
        if self.observer.tracer is not None:
            self.observer.tracer.put(spans.of(account, account.party, parent=self.parent, tail=self.tail))

    def _count(self, account: "Account") -> None:
        target = account.party
        if target is None:
            return
        name = label(target)
        of_model = counts.COUNTS.model(name, target.model, is_proven=account.status == "completed")
        of_model.calls[account.status] += 1
        of_model.input_tokens += account.usage.input_tokens
        of_model.output_tokens += account.usage.output_tokens
        of_model.cost_usd_micros += account.cost_usd_micros
        if account.saved_usd_micros is not None:
            return  # from the cache: it says nothing of how fast the provider is
        of_provider = counts.COUNTS.provider(name)
        of_provider.duration.add((account.latency_ms or account.elapsed_ms) / 1000)
        if account.first_token_ms is not None:
            of_provider.first_token.add(account.first_token_ms / 1000)


class Observer:
    """Watches the calls of one process."""

    def __init__(self) -> None:
        self.keeper, self.room, self.refused = Keeper(), Room(), Refused()
        self.tracer = tracer.begun()

    def watch(self, exchange: "Exchange", account: "Account", policy: "Policy") -> Watch:
        """Begin to watch a call."""
        counts.COUNTS.in_flight += 1
        watch = Watch(self, is_private=policy.is_private)
        if policy.keeps_content:
            watch.heard = self._heard(exchange, account)
        if self.tracer is not None:
            self._trace(watch, exchange)
        return watch

    def stop(self) -> None:
        """Write what was not written yet."""
        self.keeper.stop()
        self.refused.stop()
        if self.tracer is not None:
            self.tracer.stop()

    @staticmethod
    def _trace(watch: Watch, exchange: "Exchange") -> None:
        watch.parent = {name: text for name in CONTEXT if (text := exchange.header(name.encode()))}
        watch.tail = Tail()
        exchange.tap(watch.tail.take)

    def _heard(self, exchange: "Exchange", account: "Account") -> Heard:
        order = account.order
        heard = Heard(
            order.call_id,
            exchange.organization_id,
            order.body,
            order.size,
            order.asked.is_stream,
            timezone.now(),
            room=self.room,
        )
        exchange.tap(heard.take)
        return heard


def refused(unit: str) -> None:
    """Count a call that is over a budget, or a limit of `requests`, `tokens` or `parallel` calls."""
    counts.COUNTS.refusals[unit if unit in counts.REASONS else "parallel"] += 1


def label(target: "Target") -> str:
    """Return what metrics call a target's provider: nothing of what an organization named its own."""
    return target.source.name if target.source.is_common else counts.OWN
