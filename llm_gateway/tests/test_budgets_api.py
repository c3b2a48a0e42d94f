"""The doors of budgets, limits of keys, and prices: set, shown, refused; what is set holds for the gateway."""

import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from llm_gateway import prices
from llm_gateway.models import BudgetWindow
from llm_gateway.money import leases, ledger, limits, records, windows
from llm_gateway.money.leases import Ask
from orchestrators import retention as pruning
from orgs import keys
from orgs.models import ApiKey, AuditEntry, Event, Organization
from orgs.tests import cast
from orgs.tests.cast import Cast

pytestmark = pytest.mark.django_db
OWN = "/api/v1/orchestrators/org-001"


@pytest.fixture
def people(settings: Any) -> Cast:
    return cast.make(settings)


def data(answer: Any, *, status: int = 200) -> Any:
    assert answer.status_code == status, answer.content
    return json.loads(answer.content)["data"]


def fields(answer: Any) -> set[str]:
    assert answer.status_code == 400, answer.content
    return set(json.loads(answer.content)["fields"])


def call(call_id: str, micros: int, *, key_id: str = "", status: str = "completed", **more: Any) -> None:
    """Put a finished call of now into the ledger."""
    at = more.pop("at", timezone.now().timestamp())
    begin = records.Begin(call_id=call_id, organization_id="org-001", key_id=key_id, requested_model="gpt-4o", at=at)
    end = records.End(call_id=call_id, at=at, status=status, provider="openai", model="gpt-4o", cost_usd_micros=micros)
    ledger.write([begin, end], holder="p-1")


def test_nothing_is_limited_until_a_limit_is_set(people: Cast) -> None:
    shown = data(people.vera.get(f"{OWN}/budget"))
    assert shown.pop("window_starts_at") < shown.pop("window_ends_at")
    assert shown == {
        "organization_id": "org-001", "budget_usd": None, "budget_window": "month", "requests_per_minute": None,
        "tokens_per_minute": None, "max_parallel": None, "spent_usd": 0.0, "reserved_usd": 0.0, "left_usd": None,
        "by_model": [],
    }  # fmt: skip
    assert limits.load("org-001").scopes("gpt-4o").limits == ()


def test_a_budget_says_what_is_spent_reserved_and_left(people: Cast) -> None:
    body = {"budget_usd": "2.000001", "budget_window": "day", "requests_per_minute": 60, "max_parallel": None,
            "by_model": [{"model": "gpt-4o", "budget_usd": 1, "budget_window": "total"}]}  # fmt: skip
    call("before", 250_000)
    data(people.alice.call("PUT", f"{OWN}/budget", body))
    call("after", 250_001)
    now = timezone.now().timestamp()
    name = ("org:org-001", "usd_micros", "day", windows.start("day", now))
    leases.exchange([Ask("org-001", name, int(windows.end("day", now)), 2_000_001, need=1000)], holder="p-1", now=now)
    leased = BudgetWindow.objects.get(subject="org:org-001", window="day").leased
    shown = data(people.root.get(f"{OWN}/budget"))
    assert (shown["budget_usd"], shown["spent_usd"], shown["reserved_usd"]) == (2.000001, 0.500001, leased / 10**6)
    assert shown["left_usd"] == round(1.5 - leased / 10**6, 6)
    one = shown["by_model"][0]
    assert (one["model"], one["budget_usd"], one["window_ends_at"]) == ("gpt-4o", 1.0, None)
    held = limits.load("org-001").scopes("openai/gpt-4o").limits
    assert [(limit.subject, limit.budget_usd_micros, limit.window) for limit in held] == [
        ("org:org-001", 2_000_001, "day"), ("model:org-001/gpt-4o", 1_000_000, "total"),
    ]  # fmt: skip
    assert held[0].requests_per_minute == 60
    assert Event.objects.filter(kind="budget.changed", organization_id="org-001").count() == 1
    entry = AuditEntry.objects.get(action="budget.set")
    told: Any = (entry.before, entry.after)
    assert [side["budget_usd"] for side in told] == [None, 2.000001]
    data(people.alice.call("PUT", f"{OWN}/budget", {}))
    assert limits.load("org-001").scopes("gpt-4o").limits == ()


def test_bad_limits_are_refused_by_name(people: Cast) -> None:
    wrong = {"budget_usd": -1, "budget_window": "year", "requests_per_minute": 0, "tokens_per_minute": "x",
             "max_parallel": 1.5, "by_model": [{"budget_usd": 1}]}  # fmt: skip
    assert fields(people.alice.call("PUT", f"{OWN}/budget", wrong)) == {
        "budget_usd", "budget_window", "requests_per_minute", "tokens_per_minute", "max_parallel", "by_model.0.model",
    }  # fmt: skip
    assert fields(people.alice.call("PUT", f"{OWN}/budget", {"spent_usd": 0})) == {"spent_usd"}
    number = {"by_model": [{"model": 5, "budget_usd": 1}]}
    assert fields(people.alice.call("PUT", f"{OWN}/budget", number)) == {"by_model.0.model"}
    assert fields(people.alice.call("POST", f"{OWN}/api-keys", {"name": "k", "models": [5]})) == {"models.0"}
    twice = {"by_model": [{"model": "m"}, {"model": "m"}]}
    assert fields(people.alice.call("PUT", f"{OWN}/budget", twice)) == {"by_model"}
    assert fields(people.alice.call("PUT", f"{OWN}/budget", {"budget_usd": 0.0000001})) == {"budget_usd"}


def test_a_key_has_limits_of_its_own_and_its_successor_shares_them(people: Cast) -> None:
    body = {"name": "ci", "role": "operator", "models": ["gpt-4o"], "budget_usd": 3, "budget_window": "week",
            "requests_per_minute": 10, "tokens_per_minute": 1000, "max_parallel": 2}  # fmt: skip
    row = data(people.alice.call("POST", f"{OWN}/api-keys", body), status=201)
    assert {name: row[name] for name in body} == body
    key_id = row["key_id"]
    held = limits.load("org-001", key_id=key_id)
    assert (held.may_call("gpt-4o"), held.may_call("openai/gpt-4o", "gpt-4o"), held.may_call("o3")) == (
        True, True, False,
    )  # fmt: skip
    assert held.own == (limits.Limit(f"key:{key_id}", 3_000_000, "week", 10, 1000, 2),)
    told: Any = AuditEntry.objects.get(action="api_key.create", target_id=key_id).after
    assert (told["budget_usd"], told["models"]) == (3.0, ["gpt-4o"])
    successor, _ = keys.rotate(ApiKey.objects.get(key_id=key_id), acting_user=None, grace_seconds=60)
    heir = limits.load("org-001", key_id=successor.key_id)
    assert (heir.own, heir.models) == (held.own, held.models)
    assert heir.scopes("gpt-4o").scope_key == key_id
    plain = data(people.alice.call("POST", f"{OWN}/api-keys", {"name": "free", "role": "viewer"}), status=201)
    assert (plain["budget_usd"], plain["models"]) == (None, None)
    assert limits.load("org-001", key_id=plain["key_id"]).own == ()


def test_keys_say_what_they_have_spent_and_when_that_begins_anew(
    people: Cast, django_assert_max_num_queries: Any
) -> None:
    made = {}
    for name, window in (("daily", "day"), ("ever", "total"), ("free", None)):
        body = {"name": name, "role": "operator"} | ({"budget_usd": 3, "budget_window": window} if window else {})
        row = data(people.alice.call("POST", f"{OWN}/api-keys", body), status=201)
        assert (row["spent_usd"], bool(row["window_ends_at"])) == (0.0 if window else None, name == "daily")
        made[name] = row["key_id"]
        call(name, 1_500_001, key_id=row["key_id"])
    heir, _ = keys.rotate(ApiKey.objects.get(key_id=made["ever"]), acting_user=None, grace_seconds=60)
    with django_assert_max_num_queries(12):
        rows = {row["key_id"]: row for row in data(people.alice.get(f"{OWN}/api-keys"))["items"]}
    spent = {key_id: (row["spent_usd"], row["window_ends_at"]) for key_id, row in rows.items()}
    assert spent[made["ever"]] == spent[heir.key_id] == (1.500001, None)  # one budget, two keys
    assert spent[made["free"]] == (None, None)
    tomorrow = (timezone.now() + timedelta(days=1)).date().isoformat()
    assert spent[made["daily"]][0] == 1.500001
    assert str(spent[made["daily"]][1])[:10] in (tomorrow, timezone.now().date().isoformat())


def test_prices_are_set_for_one_and_for_all(people: Cast) -> None:
    body = {"model": "mine/llama-3", "input_usd_per_million": 0.15, "output_usd_per_million": "0.60"}
    for_all = data(people.root.call("POST", "/api/v1/llm/prices", body), status=201)
    assert (for_all["organization_id"], for_all["cached_input_usd_per_million"]) == (None, None)
    assert prices.overrides("org-001")["mine/llama-3"].source == "installation"
    own = data(people.alice.call("POST", f"{OWN}/prices", body | {"input_usd_per_million": 0.1}), status=201)
    found = prices.overrides("org-001")["mine/llama-3"]
    assert (found.input, found.output, found.cached_input, found.source) == (
        Decimal("0.1"), Decimal("0.6"), Decimal("0.1"), "organization",
    )  # fmt: skip
    assert prices.overrides("org-002")["mine/llama-3"].input == Decimal("0.15")
    assert people.alice.call("POST", f"{OWN}/prices", body).status_code == 409
    assert people.root.call("POST", "/api/v1/llm/prices", body).status_code == 409
    path = f"{OWN}/prices/{own['price_id']}"
    changed = data(people.alice.call("PUT", path, body | {"cached_input_usd_per_million": 0.01}))
    assert (changed["price_id"], changed["cached_input_usd_per_million"]) == (own["price_id"], 0.01)
    assert data(people.vera.get(f"{OWN}/prices"))["total_items"] == 1
    assert people.charlie.get(path).status_code == 404
    assert people.alice.get(f"/api/v1/llm/prices/{for_all['price_id']}").status_code == 403
    assert people.alice.call("DELETE", path).status_code == 204
    assert prices.overrides("org-001")["mine/llama-3"].source == "installation"
    assert fields(people.alice.call("POST", f"{OWN}/prices", {"model": "a b", "input_usd_per_million": -1})) == {
        "input_usd_per_million", "output_usd_per_million",
    }  # fmt: skip
    assert fields(people.alice.call("POST", f"{OWN}/prices", body | {"model": "a b"})) == {"model"}


def test_old_calls_go_and_what_hours_came_to_stays_longer(people: Cast, settings: Any) -> None:
    settings.LLM_CALL_RETENTION_DAYS, settings.LLM_SPENDING_RETENTION_DAYS = 30, 300
    now = timezone.now()
    for days in (1, 31, 301):
        call(f"call_{days}", 5, at=(now - timedelta(days=days)).timestamp())
    gone = pruning.prune(now=now)
    assert (gone["llm_calls"], gone["llm_spending"]) == (2, 1)
    assert gone["budget_windows"] > 0
    total = BudgetWindow.objects.get(subject="org:org-001", window="total")
    assert total.spent == 15
    assert Organization.objects.count() == 2
