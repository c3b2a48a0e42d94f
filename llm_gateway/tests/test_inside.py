"""Calls that the product makes itself: counted, limited and settled as a client's are."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from llm_gateway.models import Call
from llm_gateway.plane import inside
from llm_gateway.plane.inside import Asker
from llm_gateway.tests import within
from llm_gateway.tests.provider import TEXT, Provider
from llm_gateway.tests.stage import user
from moolai.testing.world import World
from orgs import keys, organizations, spending
from orgs.models import Organization, User

ACME = Asker("acme", "user:7", "ann")
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def behind(world: World, django_db_setup: None, django_db_blocker: Any) -> Iterator[Provider]:
    with within.staged(world, django_db_blocker) as found:
        acme = organizations.create("acme", name="Acme", acting_user=None)
        User.objects.create(pk=7, username="ann").memberships.create(organization=acme, role="operator")
        yield found


def ask(text: str, *, asker: Asker = ACME, **more: Any) -> inside.Said:
    return inside.call(CHAT, {"model": "openai/gpt-4o-mini", "messages": [user(text)]}, asker=asker, **more)


def ledger(call_id: str) -> Call:
    """Return a call's row, once its end is read from the journal."""
    for _ in range(100):
        row = Call.objects.filter(pk=call_id).exclude(status="running").first()
        if row is not None:
            return row
        time.sleep(0.1)
    raise AssertionError("the ledger has no such call")


def test_a_call_from_inside_stands_in_the_ledger_as_a_clients_does(behind: Provider) -> None:
    said = ask("hi", call_id="own-1")
    assert (said.is_good, said.provider, said.model) == (True, "openai", "gpt-4o-mini")
    assert said.document["choices"][0]["message"]["content"] == TEXT
    row = ledger("own-1")
    assert (said.call_id, row.user, row.organization_id, row.key_id) == ("own-1", "ann", "acme", "")
    assert row.cost_usd_micros == said.cost_usd_micros > 0
    bad = ask("[400]")
    assert (bad.status, bad.is_good, bad.error, ledger(bad.call_id).status) == (400, False, "some_code", "failed")
    assert ask("hi", asker=Asker("acme", "user:7", "ann")).status == 200
    unknown = inside.call(CHAT, {"model": "nobody/knows", "messages": [user("hi")]}, asker=ACME)
    assert (unknown.status, unknown.error, unknown.call_id) == (404, "model_not_found", "")


def test_a_revoked_key_a_spent_budget_and_a_person_who_is_gone_end_it(behind: Provider) -> None:
    acme = Organization.objects.get(pk="acme")
    key, _ = keys.create(acme, name="ci", acting_user=None, role="operator")
    asker = Asker("acme", f"key:{key.key_id}")
    assert ledger(ask("hi", asker=asker).call_id).key_id == key.key_id
    spending.set_for_key(key, budget_usd="0.000001")
    assert (ask("hi", asker=asker).status, ask("hi", asker=asker).error) == (429, "insufficient_quota")
    keys.revoke(key, acting_user=None)
    assert (ask("hi", asker=asker).status, ask("hi", asker=asker).error) == (403, "forbidden")
    ann = User.objects.filter(pk=7)
    ann.update(is_active=False)
    assert (ask("hi").status, ask("hi").error) == (403, "forbidden")
    ann.update(is_active=True)


def test_a_call_that_is_given_up_is_cut_and_settled(behind: Provider) -> None:
    def lose_patience() -> None:
        raise LookupError

    before = time.monotonic()
    with pytest.raises(LookupError):
        ask("[never] please", call_id="own-2", wait=lose_patience)
    assert time.monotonic() - before < 5
    assert ledger("own-2").status == "cancelled"
    assert [seen.was_cut for seen in behind.of("[never] please")] == [True]
