"""The database goes away under calls: they go on from their slices for a while, then are refused; nothing is lost."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from moolai.testing.postgres import Postgres
from moolai.testing.processes import wait_until
from moolai.testing.product import MANAGE, PROJECT, Installation

CALLS = """
import asyncio, sys
from django.conf import settings
from llm_gateway.models import BudgetWindow, Call
from llm_gateway.money import rounds
from llm_gateway.money.drainer import Drainer
from llm_gateway.money.journal import Journal
from llm_gateway.money.limits import Limit, Scopes
from llm_gateway.money.purse import Purse, Unavailable
from llm_gateway.money.records import End
rounds.MAX_AGE_SECONDS, rounds.WAIT_SECONDS = 4.0, 1.0  # instead of 60 s
book = Journal(settings.JOURNAL_DIR, holder="calls")
purse, drainer = Purse(book.holder), Drainer(book, interval_seconds=0.2)
scopes, admitted, said = Scopes("acme", limits=(Limit("org:acme", 10**9, "total"),)), 0, ""

async def play():
    global admitted, said
    stop = asyncio.ensure_future(asyncio.to_thread(sys.stdin.readline))
    while not stop.done():
        word = "ok"
        try:
            held = await purse.reserve(scopes, usd_micros=100, tokens=0)
            begin = held.begin(call_id=f"call_{admitted}", requested_model="m")
            book.begin(begin)
            book.end(End(call_id=begin.call_id, at=begin.at, status="completed", cost_usd_micros=7))
            held.settle(7, 0)
            admitted += 1
        except Unavailable:
            word = "unavailable"
        if word != said:
            said = word
            print(word, flush=True)
        await asyncio.sleep(0.02)
    await purse.close()

drainer.start()
asyncio.run(play())
drainer.stop(timeout_seconds=20)
window = BudgetWindow.objects.get(subject="org:acme", window="total")
print("ended", admitted, Call.objects.filter(status="completed").count(), window.spent, window.leased, flush=True)
"""


@pytest.mark.faults
def test_calls_outlive_an_outage_of_the_database_for_a_while_and_none_is_lost(
    postgres: Postgres, tmp_path: Path
) -> None:
    place = Installation(data_dir=tmp_path / "data", database_url=postgres.create_database("budgets_outage"))
    place.manage("migrate", "--verbosity", "0")
    said = tmp_path / "said"
    command = [sys.executable, str(MANAGE), "shell", "--no-imports", "-c", CALLS]
    with (
        said.open("w") as output,
        subprocess.Popen(
            command, cwd=PROJECT, env={**os.environ, **place.env}, stdin=subprocess.PIPE, stdout=output, text=True
        ) as calls,
    ):
        try:
            assert wait_until(lambda: "ok" in said.read_text(), timeout_seconds=60)
            time.sleep(1)
            postgres.stop()
            stopped_at = time.monotonic()
            assert wait_until(lambda: "unavailable" in said.read_text(), timeout_seconds=30)
            assert time.monotonic() - stopped_at > 1.5
            postgres.start()
            assert wait_until(lambda: said.read_text().split().count("ok") == 2, timeout_seconds=30)
            assert calls.stdin is not None
            calls.stdin.write("\n")
            calls.stdin.flush()
            assert calls.wait(timeout=60) == 0
        finally:
            calls.kill()
    admitted, counted, spent, leased = map(int, said.read_text().partition("ended")[2].split())
    assert admitted > 20
    assert (counted, spent, leased) == (admitted, 7 * admitted, 0)
