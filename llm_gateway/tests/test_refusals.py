"""Refused calls: what never comes to the ledger is counted, by the minute, bounded, and without its words."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from llm_gateway import guarding, prices
from llm_gateway.models import Call, Refusal
from llm_gateway.tests.console_stage import queries
from llm_gateway.tests.stage import ORGANIZATION, Stage, staged
from llm_gateway.watching import refused
from llm_gateway.watching.refused import Key, Refused, Tally
from moolai.testing.world import World
from orchestrators.tests.live import eventually
from orgs import keys, organizations, spending
from orgs.models import Organization
from orgs.tests import cast
from orgs.tests.cast import Cast

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
LIST = reverse("admin:llm_gateway_refusal_changelist")
GPT = "openai/gpt-4o-mini"


def counted() -> dict[tuple[str, str, str], int]:
    """Return {(code, key, model): calls}, over all minutes."""
    found: dict[tuple[str, str, str], int] = {}
    for row in Refusal.objects.all():
        key = row.code, row.key_id, row.requested_model
        found[key] = found.get(key, 0) + row.count
    return found


def refusal(number: int = 1, *, code: str = "insufficient_quota", **columns: Any) -> Refusal:
    """Leave a row of `acme`, `number` minutes after noon."""
    at = NOON + timedelta(minutes=number)
    given = {"organization_id": "acme", "minute_at": at, "last_at": at + timedelta(seconds=30), "count": 3, **columns}
    return Refusal.objects.create(code=code, **given)


# --- where calls are refused -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stage(world: World, django_db_blocker: Any) -> Iterator[Stage]:
    with staged(world, django_db_blocker, {"LLM_UNKNOWN_PRICE": "refuse"}) as found:
        home = found.live.organization()
        prices.create(
            home, acting_user=None, model="gpt-4o-mini", input_usd_per_million=1000, output_usd_per_million=2000
        )
        yield found


def a_key(name: str, **limits: Any) -> tuple[str, str]:
    """Return the id and the secret of a key of `acme` with limits of its own."""
    home = Organization.objects.get(pk=ORGANIZATION)
    row, secret = keys.create(home, name=name, acting_user=None, role="operator")
    spending.set_for_key(row, **limits)
    return row.key_id, secret


@pytest.mark.services
@pytest.mark.timeout(120)
def test_calls_that_end_before_a_provider_is_asked_are_counted_with_why_and_whose(stage: Stage) -> None:
    poor, poor_secret = a_key("poor", budget_usd=0.000001)
    slow, slow_secret = a_key("slow", requests_per_minute=1)
    narrow, narrow_secret = a_key("narrow", models=["openai/gpt-4o"])
    plain, secret = a_key("plain")
    asked = len(stage.provider.of("refuse me"))
    for _ in range(3):
        assert stage.call("/v1/chat/completions", body("refuse me"), key=poor_secret)[0] == 429
    while stage.call("/v1/chat/completions", body("hi"), key=slow_secret)[0] != 429:
        pass
    assert stage.call("/v1/messages", {**body("refuse me"), "max_tokens": 5}, key=narrow_secret)[0] == 404
    for wrong, status in (
        (body("refuse me", "no such model"), 404), (body("refuse me", "ollama/secret words"), 503),
        (body("refuse me", "openai/nobody-knows-its-price"), 400), (b"{", 400), ({"model": GPT, "messages": 4}, 400),
    ):  # fmt: skip
        assert stage.call("/v1/chat/completions", wrong, key=secret)[0] == status
    prompts = f"/api/v1/orchestrators/{ORGANIZATION}/prompts"
    assert stage.call(prompts, {"prompt": "refuse me", "model": GPT}, key=poor_secret)[0] == 429
    assert stage.call("/api/v1/llm/chat", body("refuse me"), key=poor_secret)[0] == 429
    wanted = {
        ("insufficient_quota", poor, GPT): 5, ("rate_limit_exceeded", slow, GPT): 1,
        ("model_not_found", narrow, GPT): 1,
        ("model_not_found", plain, ""): 1, ("provider_not_configured", plain, ""): 1,
        ("unknown_price", plain, "openai/nobody-knows-its-price"): 1, ("invalid_json", plain, ""): 1,
        ("invalid_type", plain, ""): 1,
    }  # fmt: skip
    eventually(lambda: sum(counted().values()) >= sum(wanted.values()), 10)
    assert counted() == wanted
    assert len(stage.provider.of("refuse me")) == asked
    told = stage.call(f"/api/v1/orchestrators/{ORGANIZATION}/llm/refusals?api_key={poor}")[1]["data"]
    assert {(row["code"], row["requested_model"]) for row in told["items"]} == {("insufficient_quota", GPT)}
    assert sum(row["count"] for row in told["items"]) == 5
    guarding.put(
        Organization.objects.get(pk=ORGANIZATION),
        rules=[{"name": "words", "kind": "deny", "words": ["unspeakable"]}],
        acting_user=None,
    )
    assert eventually(lambda: stage.call("/v1/chat/completions", body("unspeakable"), key=secret)[0] == 400, 5)
    assert stage.call("/v1/chat/completions", body("[400]"), key=secret)[0] == 400
    assert eventually(lambda: Call.objects.filter(key_id=plain, error="content_blocked").exists(), 5)
    assert eventually(lambda: Call.objects.filter(key_id=plain, error="some_code").exists(), 5)
    assert stage.chat("good")[0] == 200
    assert counted() == wanted  # those have rows of their own in the ledger


def body(text: str, model: str = GPT) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}]}


# --- counting --------------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_all_processes_count_into_the_same_rows() -> None:
    at = NOON.timestamp()
    organizations.create("acme", name="Acme", acting_user=None)
    for seconds in (5, 40, 20, 65):
        process = Refused()
        for _ in range(2):
            process.add("acme", code="insufficient_quota", key_id="key_1", model=GPT, now=at + seconds)
        process.stop()
    rows = [(row.minute_at, row.count, row.last_at) for row in Refusal.objects.all()]
    assert rows == [
        (NOON + timedelta(minutes=1), 2, NOON + timedelta(seconds=65)), (NOON, 6, NOON + timedelta(seconds=40)),
    ]  # fmt: skip


@pytest.mark.once
def test_a_process_tells_only_so_many_apart_in_a_minute() -> None:
    process, at = Refused(max_named=3, max_waiting=100), NOON.timestamp()
    process.stop()  # nothing is written
    for number in range(9):
        process.add("acme", code="model_not_found", key_id="key_1", model=f"model-{number}", now=at)
    for number in range(9):
        process.add("acme", code="model_not_found", key_id=f"key_{number}", model="x" * 200, now=at)
    found = {(key.key_id, key.model): tally.number for key, tally in process.taken()}
    assert found == {
        ("key_1", "model-0"): 1, ("key_1", "model-1"): 1, ("key_1", "model-2"): 1, ("key_1", ""): 7,
        ("key_0", ""): 1, ("key_2", ""): 1, ("", ""): 6,
    }  # fmt: skip
    process.add("acme", code="model_not_found", key_id="key_1", model="x" * 200, now=at + 60)
    assert [(key.minute, key.model) for key, _ in process.taken()] == [(int(at) + 60, "x" * 100)]
    full = Refused(max_waiting=2)
    full.stop()
    for number in range(5):
        full.add("acme", code="invalid_json", key_id=f"key_{number}", model="", now=at)
    assert (len(full.taken()), full.dropped) == (2, 3)


@pytest.mark.django_db(transaction=True)
def test_what_the_database_did_not_take_is_written_later() -> None:
    process = Refused()
    process.stop()
    for name in ("llm_refusals", "llm_refusals_away"):
        other = "llm_refusals_away" if name == "llm_refusals" else "llm_refusals"
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {name} RENAME TO {other}")
        if name == "llm_refusals":
            process.add("acme", code="invalid_json", key_id="", model="", now=NOON.timestamp())
            assert process.flush() is False
    process.add("acme", code="invalid_json", key_id="", model="", now=NOON.timestamp())
    assert process.flush() is True
    assert counted() == {("invalid_json", "", ""): 2}


@pytest.mark.django_db
def test_a_batch_is_one_transaction_of_rows_that_are_there_or_not() -> None:
    keys_of = [Key("acme", int(NOON.timestamp()), f"code_{number}", "", "") for number in range(3)]
    refused.write([(key, Tally(1, NOON.timestamp())) for key in keys_of[:2]])
    refused.write([(key, Tally(2, NOON.timestamp() - 5)) for key in keys_of])
    assert dict(Refusal.objects.values_list("code", "count")) == {"code_0": 3, "code_1": 3, "code_2": 2}
    assert Refusal.objects.get(code="code_0").last_at == NOON


@pytest.mark.django_db
def test_a_deleted_organization_takes_them_along(acme: Organization) -> None:
    refusal()
    organizations.create("other", name="Other", acting_user=None)
    refusal(organization_id="other")
    organizations.delete(acme, acting_user=None)
    assert [row.organization_id for row in Refusal.objects.all()] == ["other"]


@pytest.fixture
def people(settings: Any) -> Cast:
    return cast.make(settings)


# --- the API ---------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_members_read_their_own_organizations(people: Cast) -> None:
    for number, code in enumerate(("insufficient_quota", "rate_limit_exceeded", "insufficient_quota")):
        refusal(number, code=code, organization_id="org-001", key_id=f"key_{number}", requested_model=GPT)
    refusal(organization_id="org-002")
    url = "/api/v1/orchestrators/org-001/llm/refusals"
    items = people.alice.get(url).json()["data"]["items"]
    assert items[0] == {
        "organization_id": "org-001", "minute_at": "2026-11-21T12:02:00Z", "code": "insufficient_quota",
        "key_id": "key_2", "requested_model": GPT, "count": 3, "last_at": "2026-11-21T12:02:30Z",
    }  # fmt: skip
    assert [row["key_id"] for row in items] == ["key_2", "key_1", "key_0"]
    for query, found in (
        ("code=rate_limit_exceeded", ["key_1"]), ("api_key=key_0", ["key_0"]), (f"model={GPT}&code=x", []),
        ("since=2026-11-21T12:01:00Z&until=2026-11-21T12:02:00Z", ["key_1"]), ("page_size=1&page=3", ["key_0"]),
    ):  # fmt: skip
        told = people.alice.get(f"{url}?{query}").json()["data"]["items"]
        assert [row["key_id"] for row in told] == found, query
    assert people.alice.get(f"{url}?since=yesterday").status_code == 400
    assert people.charlie.get(url).status_code == 404
    assert people.alice.call("POST", url, {}).status_code == 405


# --- the console -----------------------------------------------------------------------------------------------------


@pytest.mark.once
@pytest.mark.django_db
def test_the_list_says_why_and_whose_and_follows(console: Client, acme: Organization) -> None:
    assert "No refused calls yet" in console.get(LIST).content.decode()
    newest = reverse("admin:llm_gateway_refusal_newest")
    marks = [console.get(newest).json()["mark"]]
    key, _ = keys.create(acme, name="support-bot", acting_user=None, role="operator")
    row = refusal(1, key_id=key.key_id, requested_model="smart", count=1234)
    marks.append(console.get(newest).json()["mark"])
    Refusal.objects.update(count=1235)
    marks.append(console.get(newest).json()["mark"])
    assert len(set(marks)) == 3
    refusal(2, code="no_such_code", last_at=timezone.now())
    text = console.get(LIST).content.decode()
    for word in ("support-bot", "smart", "1\u202f235", "insufficient_quota", "Too little of a budget", "no_such_code"):
        assert word in text, word
    assert f'data-mark="{console.get(newest).json()["mark"]}"' in text
    for query, expected in (
        ("code=insufficient_quota", 1), ("code=no_such_code", 1), ("code=x", 0), ("key=support-bot", 1),
        ("model=smart", 1),
        (f"key={key.key_id}", 1), ("organization=acme", 2), ("organization=nowhere", 0),
        ("minute_at_from_0=2099-01-01", 0),
    ):  # fmt: skip
        assert len(console.get(f"{LIST}?{query}").context["cl"].result_list) == expected, query
    assert "Nothing matches" in console.get(f"{LIST}?code=x").content.decode()
    page = console.get(reverse("admin:orgs_apikey_change", args=[key.pk])).content.decode()
    assert f"{LIST}?key={key.key_id}" in page
    assert f'href="{LIST}"' in console.get(reverse("admin:llm_gateway_call_changelist")).content.decode()
    one = console.get(f"{LIST}{row.pk}/change/").content.decode()
    for word in ("support-bot", "1235 calls", "2026-11-21 12:01:30 UTC", "Too little of a budget"):
        assert word in one, word
    few = queries(console, LIST)
    for number in range(3, 40):
        refusal(number, key_id=f"key_{number}")
    assert queries(console, LIST) == few


@pytest.mark.once
@pytest.mark.django_db
def test_nobody_else_sees_them(client: Client) -> None:
    for url in (LIST, reverse("admin:llm_gateway_refusal_newest")):
        assert client.get(url).status_code == 302
