"""The gateway's pages of the console: aliases, models with their prices, budgets and costs."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from llm_gateway import aliases, prices
from llm_gateway.admin import flows, health, meters
from llm_gateway.models import Alias, Guardrails
from llm_gateway.tests.console_stage import KEY, made, provider, queries
from orgs import keys, organizations, spending
from orgs.models import AuditEntry, Organization, SpendingLimit, User

pytestmark = [pytest.mark.once, pytest.mark.django_db]
MODELS = reverse("admin:llm_gateway_price_models")
COSTS = reverse("admin:llm_gateway_spending_changelist")


def lists(acme: Organization, numbers: range) -> None:
    """Add a row of each kind for each number, each with something that costs a query if it is read one by one."""
    for number in numbers:
        owner = acme if number % 2 else None
        provider(owner, name=f"p-{number}", base_url="")
        key, _ = keys.create(acme, name=f"k-{number}", acting_user=None, role="operator", budget_usd=1)
        aliases.create(owner, alias=f"a-{number}", targets=[{"model": f"p-{number}/small"}], acting_user=None)
        amounts = {"input_usd_per_million": 1, "output_usd_per_million": 2}
        prices.create(owner, model=f"m-{number}", acting_user=None, **amounts)
        made(number, key_id=key.key_id, provider=f"p-{number}", ago_seconds=1)


def test_lists_ask_as_much_for_many_rows_as_for_few(console: Client, acme: Organization) -> None:
    names = ("llm_gateway_provider", "llm_gateway_alias", "llm_gateway_price", "orgs_spendinglimit")
    urls = [*(reverse(f"admin:{name}_changelist") for name in names), MODELS, COSTS, f"{COSTS}?group=api_key"]
    counts: list[list[int]] = []
    for numbers in (range(1, 5), range(5, 30)):
        lists(acme, numbers)
        counts.append([queries(console, url) for url in urls])
    assert counts[0] == counts[1]
    assert max(counts[1]) <= 26, counts


# --- aliases, prices, models -----------------------------------------------------------------------------------------


def test_an_alias_is_made_of_rows_and_drawn_with_shares_and_health(console: Client, acme: Organization) -> None:
    provider(None)
    made(1), made(2, error="api_error")
    targets = {"targets_model": ["ours/small", "", "ours/other", "echo/echo"], "targets_weight": ["3", "", "1", ""]}
    answer = console.post(reverse("admin:llm_gateway_alias_add"), {"alias": "smart", **targets})
    assert answer.status_code == 302
    row = Alias.objects.get()
    heavy, light, last = (
        {"model": "ours/small", "weight": 3},
        {"model": "ours/other", "weight": 1},
        {"model": "echo/echo"},
    )
    assert row.targets == [heavy, light, last]
    steps = flows.steps(row, health.recent(now=timezone.now()), {"ours": {"other": "open"}})
    assert [(step.share, step.is_fallback, step.tone) for step in steps] == [
        ("75 %", False, "red"), ("25 %", False, "red"), ("if these fail", True, "gray"),
    ]  # fmt: skip
    assert [step.said for step in steps][1:] == ["breaker open here", "no calls in the last hour"]
    text = console.get(reverse("admin:llm_gateway_alias_change", args=[row.pk])).content.decode()
    assert "2 calls · 50.0 % failed" in text
    assert 'aria-label="smart leads to ours/small (75 %' in text
    ordered = {"alias": "smart", "targets_model": ["echo/echo", "ours/small"], "targets_weight": ["", ""]}
    console.post(reverse("admin:llm_gateway_alias_change", args=[row.pk]), ordered)
    row.refresh_from_db()
    assert [step.share for step in flows.steps(row, {}, {})] == ["first", "then (2)"]
    assert "nowhere" not in console.get(reverse("admin:llm_gateway_alias_changelist")).content.decode()


def test_an_alias_whose_targets_lead_nowhere_is_marked(console: Client, acme: Organization) -> None:
    provider(None, known_models=["small"])
    provider(acme, name="theirs", known_models=[])
    targets = [{"model": name} for name in ("ours/small", "ours/large", "nobody/x", "gpt-4o", "theirs/any")]
    row = aliases.create(None, alias="smart", targets=targets, acting_user=None)
    assert flows.lost_of([row]) == [{
        "ours/large": "leads nowhere: no provider has it", "nobody/x": "leads nowhere: no provider has it",
        "gpt-4o": "leads nowhere: OPENAI_API_KEY is not set",
    }]  # fmt: skip
    for page in (reverse("admin:llm_gateway_alias_changelist"), f"/admin/llm_gateway/alias/{row.pk}/change/"):
        text = console.get(page).content.decode()
        assert 'mo-badge-amber"><i>▲</i> 3 of 5 lead nowhere' in text
    assert "leads nowhere: OPENAI_API_KEY is not set" in text
    Alias.objects.create(alias="older", targets=[{"model": "smart"}])  # as it could be made before
    assert flows.lost_of([Alias.objects.get(alias="older")]) == [{"smart": "leads nowhere: it is an alias"}]


@pytest.mark.parametrize(
    ("models", "weights", "words_"),
    [
        (["smart"], [""], "does not lead to itself"),
        (["ours/small"], ["much"], "is no number"),
        (["ours/small", "a"], ["1", "-2"], "Target 2: A weight is a number above 0"),
        (["a b"], [""], "Target 1: Name a model."),
        (["ours/small", "taken"], ["", ""], "Target 2: This is an alias"),
        ([""], [""], "required"),
    ],
)
def test_a_wrong_target_is_named(console: Client, models: list[str], weights: list[str], words_: str) -> None:
    aliases.create(None, alias="taken", targets=[{"model": "x"}], acting_user=None)
    sent = {"alias": "smart", "targets_model": models, "targets_weight": weights}
    answer = console.post(reverse("admin:llm_gateway_alias_add"), sent)
    assert answer.status_code == 200
    assert words_ in str(answer.context["adminform"].form.errors["targets"])
    assert Alias.objects.count() == 1


def test_models_are_listed_with_what_they_cost_and_from_where(
    console: Client, acme: Organization, settings: Any
) -> None:
    settings.LLM_ENVIRONMENT = {"openai": ("openai", "", KEY, False)}
    provider(acme, known_models=["small", "strange"])
    amounts = {"input_usd_per_million": "1.5", "output_usd_per_million": 2}
    prices.create(acme, model="ours/small", acting_user=None, **amounts)
    aliases.create(None, alias="smart", targets=[{"model": "ours/small"}], acting_user=None)
    found = console.get(f"{MODELS}?organization=acme").context
    lines = {line.name: line for line in found["lines"]}
    assert (lines["ours/small"].rates, lines["ours/small"].source[1]) == (("$1.50", "$2.00", "$1.50"), "own price")
    assert lines["ours/small"].action == "Change"
    assert (lines["ours/strange"].source[1], lines["ours/strange"].action) == ("unknown", "Enter a price")
    assert "model=ours%2Fstrange" in lines["ours/strange"].url
    assert (lines["echo/echo"].source[1], lines["echo/echo"].action) == ("local: free", "")
    assert lines["openai/gpt-4o"].source[1] == "published"
    assert [one["name"] for one in found["aliases"]] == ["smart"]
    assert [line.name for line in console.get(f"{MODELS}?organization=acme&q=STRANGE").context["lines"]] == [
        "ours/strange"
    ]
    form_ = console.get(lines["ours/strange"].url).context["adminform"].form
    assert (form_["model"].value(), str(form_["organization"].value())) == ("ours/strange", "acme")


# --- budgets, costs --------------------------------------------------------------------------------------------------


def test_limits_are_set_for_one_thing_at_a_time_and_the_others_stay(console: Client, acme: Organization) -> None:
    spending.put(acme, acting_user=None, budget_usd=5, by_model=[{"model": "big", "budget_usd": 1}])
    key, _ = keys.create(acme, name="bot", acting_user=None, role="operator")
    sent = {"organization": "acme", "key": str(key.pk), "budget_usd": "0.5", "budget_window": "day",
            "allowed_models": "smart, ours/small"}  # fmt: skip
    assert console.post(reverse("admin:orgs_spendinglimit_add"), sent).status_code == 302
    row = SpendingLimit.objects.get(key=key)
    assert (row.budget_usd_micros, row.budget_window, row.allowed_models) == (500_000, "day", ["smart", "ours/small"])
    again = console.post(reverse("admin:orgs_spendinglimit_add"), sent)
    assert "There are limits already" in again.content.decode()
    page = reverse("admin:orgs_spendinglimit_change", args=[row.pk])
    console.post(page, {"budget_usd": "", "budget_window": "month", "max_parallel": "3"})
    row.refresh_from_db()
    assert (row.budget_usd_micros, row.max_parallel, row.allowed_models) == (None, 3, [])
    own, by_model = spending.of(acme)
    assert own is not None
    assert (own.budget_usd_micros, [one.model for one in by_model]) == (5_000_000, ["big"])
    entries = AuditEntry.objects.filter(action="budget.set", target_type="api_key")
    assert [entry.target_id for entry in entries] == [key.key_id] * 2
    console.post(reverse("admin:orgs_spendinglimit_delete", args=[row.pk]), {"post": "yes"})
    assert spending.of(acme)[1]
    assert not SpendingLimit.objects.filter(key=key).exists()


@pytest.mark.parametrize(
    ("more", "words_"),
    [
        ({"model": "m", "key": "own"}, "not both at once"),
        ({"key": "foreign"}, "This key belongs to beta"),
        ({"model": "a b"}, "Use up to 200"),
        ({"requests_per_minute": "0"}, "from 1"),
        ({"budget_usd": "-1"}, "greater than or equal to 0"),
    ],
)
def test_limits_that_cannot_be_are_refused(
    console: Client, acme: Organization, more: dict[str, str], words_: str
) -> None:
    beta = organizations.create("beta", name="Beta", acting_user=None)
    found = {"own": keys.create(acme, name="a", acting_user=None, role="operator")[0].pk,
             "foreign": keys.create(beta, name="b", acting_user=None, role="operator")[0].pk}  # fmt: skip
    sent = {"organization": "acme", "budget_window": "month", **more}
    sent["key"] = str(found.get(sent.get("key", ""), ""))
    answer = console.post(reverse("admin:orgs_spendinglimit_add"), sent)
    assert answer.status_code == 200
    assert words_ in str(answer.context["adminform"].form.errors)
    assert not SpendingLimit.objects.exists()


def test_budgets_are_bars_of_the_window_that_runs(console: Client, acme: Organization) -> None:
    key, _ = keys.create(acme, name="bot", acting_user=None, role="operator", budget_usd=1, budget_window="total")
    spending.put(acme, acting_user=None, budget_usd=2, budget_window="total")
    made(1, key_id=key.key_id, scope_key=key.key_id, cost_usd_micros=900_000)
    rows = list(SpendingLimit.objects.select_related("key").order_by("key"))
    found = meters.read(rows, now=timezone.now())
    told_ = {(row.key_id is not None): (found[row.pk].share, found[row.pk].tone) for row in rows}
    assert told_ == {False: (0.45, "green"), True: (0.9, "amber")}
    pages = [reverse("admin:orgs_spendinglimit_changelist"), reverse("admin:orgs_apikey_change", args=[key.pk])]
    text, of_key = (console.get(page).content.decode() for page in pages)
    assert "$0.90 of $1.00" in of_key
    assert "$0.90 of $1.00" in text
    other, _ = keys.create(acme, name="free", acting_user=None, role="operator")
    page = console.get(reverse("admin:orgs_apikey_change", args=[other.pk]))
    assert "Nothing limits it but" in page.content.decode()
    form = console.get(page.context["limits_url"]).context["adminform"].form
    assert (str(form["key"].value()), str(form["organization"].value())) == (str(other.pk), "acme")
    assert "90 % in all" in text
    assert "$0.90 of $2.00" in console.get(COSTS).content.decode()


def test_costs_are_stacked_by_what_they_were_for(console: Client, acme: Organization) -> None:
    organizations.create("beta", name="Beta", acting_user=None)
    key, _ = keys.create(acme, name="bot", acting_user=None, role="operator")
    made(1, key_id=key.key_id, cost_usd_micros=300_000, input_tokens=10, output_tokens=5)
    made(2, model="large", cost_usd_micros=100_000)
    made(3, organization_id="beta", error="api_error")
    found = console.get(f"{COSTS}?range=24h&group=model").context
    chart = found["chart"]
    assert dict(zip(chart["names"], map(sum, chart["cost"]), strict=True)) == {"small": 0.3, "large": 0.1}
    assert (sum(chart["calls"]), sum(chart["failed"]), sum(chart["tokens"])) == (2, 1, 15)
    assert len(chart["x"]) == len(chart["calls"]) >= 24
    assert [card["value"] for card in found["cards"]] == ["$0.40", "3", "33.3 %", "15"]
    by_key = console.get(f"{COSTS}?group=api_key&organization=acme").context
    assert [(line["name"], line["cost"]) for line in by_key["lines"]] == [
        ("bot", "$0.30"), ("people, without a key", "$0.10"),
    ]  # fmt: skip
    assert "No calls in this time" in console.get(f"{COSTS}?organization=nowhere&range=x").content.decode()
    card = console.get(reverse("console_gateway_card")).content.decode()
    assert all(word in card for word in ("<b>3</b> calls today", "$0.40", "33.3 %"))


# --- guardrails -------------------------------------------------------------------------------------------------------

MAIL = "ann@mail.example"


def cards(*rules: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that a form with these rules sends."""
    found: dict[str, Any] = {"organization": "acme", "rules_many": str(len(rules))}
    for number, rule in enumerate(rules):
        found |= {f"rules_{number}_{name}": value for name, value in {"on": ["request", "answer"], **rule}.items()}
    return found


def test_guardrails_are_cards_that_are_set_changed_and_removed(console: Client, acme: Organization) -> None:
    add = reverse("admin:llm_gateway_guardrails_add")
    page = console.get(add).content.decode()
    assert 'value="privacy"' in page  # what most begin with
    assert page.count("Add a rule") == 2
    redact = {"name": "mine", "kind": "redact", "detect": ["email", "iban"], "action": "block", "on": ["request"]}
    deny = {"name": "plans", "kind": "deny", "words": "moon shot\r\n\r\nacme*\r\nmoon shot", "detect": ["email"]}
    empty = {"name": "", "kind": "redact", "new": "1", "detect": ["email"], "action": "redact"}
    assert console.post(add, cards(redact, deny, empty)).status_code == 302
    row = Guardrails.objects.get()
    assert row.rules == [
        redact,
        {"name": "plans", "kind": "deny", "on": ["request", "answer"], "words": ["moon shot", "acme*"]},
    ]
    change = reverse("admin:llm_gateway_guardrails_change", args=["acme"])
    page = console.get(change).content.decode()
    assert "moon shot\nacme*</textarea>" in page
    assert console.post(change, cards({**redact, "remove": "1"}, {**deny, "words": "x"})).status_code == 302
    row.refresh_from_db()
    assert [(rule["name"], rule["words"]) for rule in row.rules] == [("plans", ["x"])]
    assert [entry.action for entry in AuditEntry.objects.order_by("pk")][-2:] == ["guardrails.set"] * 2
    said = console.post(change, cards({**deny, "words": "fine\n*x"}, {**redact, "detect": []})).content.decode()
    assert "Rule 1, words, entry 2: A * stands for the rest of a word" in said
    assert "Rule 2, what is found: Choose among" in said
    assert "*x</textarea>" in said
    row.refresh_from_db()
    assert [rule["words"] for rule in row.rules] == [["x"]]


def test_rules_are_tried_on_a_text_before_they_are_saved(console: Client, acme: Organization) -> None:
    url = reverse("admin:llm_gateway_guardrails_try")
    redact = {"name": "mine", "kind": "redact", "detect": ["email"], "action": "redact", "on": ["answer"]}
    deny = {"name": "plans", "kind": "deny", "words": "moon shot", "on": ["request"]}
    told = console.post(url, {**cards(redact, deny), "text": f"a moon shot of {MAIL}"}).json()
    assert told == {
        "request": {"text": "", "blocked": "plans"},
        "answer": {"text": "a moon shot of [EMAIL]", "blocked": ""},
    }
    assert console.post(url, {"rules_many": "0", "text": MAIL}).json()["request"]["text"] == MAIL
    wrong = console.post(url, cards({**deny, "words": ""}))
    assert (wrong.status_code, wrong.json()["error"]) == (400, "invalid_field")
    assert console.get(url).status_code == 405
    assert not Guardrails.objects.exists()
    vera = Client()
    vera.force_login(User.objects.create_user("vera", is_staff=True))
    assert vera.post(url, cards(deny)).status_code in (302, 403)
