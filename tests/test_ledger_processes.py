"""The ledger is exact although real processes are killed between writing rows and committing them."""

import signal
from collections.abc import Callable

import pytest

from moolai.testing.product import Installation

# A process that dies at the first statement that begins as given, right after the database did it.
DIES = """
import os, signal
from django.conf import settings
from django.db import connection
from llm_gateway.money import draining
from llm_gateway.money.journal import Journal
from llm_gateway.money.records import Begin, End

def kill(execute, sql, params, many, context):
    done = execute(sql, params, many, context)
    if sql.startswith({statement!r}):
        os.kill(os.getpid(), signal.SIGKILL)
    return done

if not settings.JOURNAL_DIR.exists():
    book = Journal(settings.JOURNAL_DIR, holder="first")
    for number in range(50):
        book.begin(Begin(call_id=f"call_{{number}}", organization_id="acme", requested_model="m", at=1_795_262_400.0,
                         reserved_usd_micros=1000))
        if number % 10:
            book.end(End(call_id=f"call_{{number}}", at=1_795_262_401.0, status="completed", cost_usd_micros=number))
    book.close()
with connection.execute_wrapper(kill):
    draining.adopt(settings.JOURNAL_DIR)
"""
COUNTS = """
from django.conf import settings
from django.db.models import Sum
from llm_gateway.models import BudgetWindow, Call, Spending
from llm_gateway.money import draining
draining.adopt(settings.JOURNAL_DIR)
cost = Sum("cost_usd_micros")
print("counted", Call.objects.count(), Call.objects.filter(status="lost").count(), Call.objects.aggregate(n=cost)["n"],
      Spending.objects.aggregate(n=cost)["n"], BudgetWindow.objects.get(subject="org:acme", window="total").spent,
      len(list(settings.JOURNAL_DIR.iterdir())))
"""


@pytest.mark.services
def test_a_process_that_is_killed_before_it_commits_has_counted_nothing(
    installation: Callable[..., Installation],
) -> None:
    place = installation()
    for statement in ('UPDATE "journal_cursors" SET "offset"', 'UPDATE "llm_calls"'):
        killed = place.manage("shell", "--no-imports", "-c", DIES.format(statement=statement), check=False)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
    done = place.manage("shell", "--no-imports", "-c", COUNTS).stdout.split()
    total = sum(number for number in range(50) if number % 10) + 5 * 1000
    assert done[done.index("counted") + 1 :] == ["50", "5", *[str(total)] * 3, "0"]
