"""The observer of one process's calls: is told when one begins and when it is over, and hands on what is to be told."""

from typing import TYPE_CHECKING

from django.utils import timezone

from llm_gateway.watching.contents import Heard
from llm_gateway.watching.keeper import Keeper

if TYPE_CHECKING:
    from llm_gateway.plane.accounts import Account
    from llm_gateway.plane.catalog import Policy
    from llm_gateway.plane.exchange import Exchange


class Watch:
    """What is watched of one call."""

    __slots__ = ("heard", "observer")

    def __init__(self, observer: "Observer", heard: Heard | None) -> None:
        self.observer, self.heard = observer, heard

    def close(self, account: "Account") -> None:
        """Hand on what is to be told of a call that is over."""
        if self.heard is not None:
            self.heard.is_over = True
            self.observer.keeper.put(self.heard)


class Observer:
    """Watches the calls of one process."""

    def __init__(self) -> None:
        self.keeper = Keeper()

    def watch(self, exchange: "Exchange", account: "Account", policy: "Policy") -> Watch:
        """Begin to watch a call."""
        heard = self._heard(exchange, account) if policy.keeps_content else None
        return Watch(self, heard)

    def stop(self) -> None:
        """Write what was not written yet."""
        self.keeper.stop()

    @staticmethod
    def _heard(exchange: "Exchange", account: "Account") -> Heard:
        order = account.order
        heard = Heard(
            order.call_id, exchange.organization_id, order.body, order.size, order.asked.is_stream, timezone.now()
        )
        exchange.tap(heard.take)
        return heard
