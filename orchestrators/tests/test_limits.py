"""Who is closed as a client that does not read, and who only has much to read."""

import asyncio
import time
from typing import Any

import pytest
from django.conf import settings
from django.utils import timezone

from orchestrators import limits
from orchestrators.tests.held import holding

pytestmark = pytest.mark.django_db(transaction=True)


async def test_writes_that_overlap_all_the_time_are_no_lag_while_one_after_the_other_goes_through() -> None:
    async with holding() as held:
        session = await held.open("orch-a")
        dropped: list[Any] = []
        session._push = lambda text, code: dropped.append(code)
        gates = [asyncio.Event() for _ in range(2)]
        waiting = iter(gates)

        async def send(event: Any) -> None:
            await next(waiting).wait()

        session.send = send
        writes = [asyncio.ensure_future(session.write("{}")) for _ in gates]
        await asyncio.sleep(0)
        begun = session.sending_since
        gates[0].set()
        await writes[0]
        assert session.sending == 1
        assert session.sending_since > begun  # the one that is left has waited since the other went through
        limits.watch([session], clock=time.monotonic(), now=timezone.now())
        assert dropped == []
        limits.watch([session], clock=time.monotonic() + settings.WS_LAG_SECONDS + 1, now=timezone.now())
        assert dropped == [1013]
        gates[1].set()
        await writes[1]
