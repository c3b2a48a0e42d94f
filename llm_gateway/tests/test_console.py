"""The gateway's pages of the console: providers, the log of calls, the playground, and what they leave behind."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from llm_gateway.admin import call_pieces, health, words
from llm_gateway.admin.calls import mark
from llm_gateway.models import Attempt, Call, Prompt, Provider
from llm_gateway.plane import callers
from llm_gateway.plane.callers import Presented
from llm_gateway.tests.console_stage import KEY, PUBLIC, made, provider, queries, told
from orchestrators import work
from orgs import keys, organizations, sealed
from orgs.models import AuditEntry, Organization, User

pytestmark = [pytest.mark.once, pytest.mark.django_db]
LIST = reverse("admin:llm_gateway_provider_changelist")
LOG = reverse("admin:llm_gateway_call_changelist")


# --- providers -------------------------------------------------------------------------------------------------------


def form(**fields: Any) -> dict[str, Any]:
    return {"name": "ours", "dialect": "openai", "base_url": PUBLIC, "priority": "0", "is_enabled": "on", **fields}


def test_a_provider_is_made_with_a_key_that_no_page_shows(console: Client, acme: Organization) -> None:
    fields = form(organization="acme", api_key=KEY, known_models="small\nlarge, small", auth="api-key")
    answer = console.post(reverse("admin:llm_gateway_provider_add"), fields)
    row = Provider.objects.get()
    page = reverse("admin:llm_gateway_provider_change", args=[row.pk])
    assert (answer.status_code, answer["Location"]) == (302, page)
    assert (row.known_models, sealed.read(row, "api_key"), row.auth) == (["small", "large"], KEY, "api-key")
    pages = console.get(page).content.decode() + console.get(LIST).content.decode()
    assert "····WXYZ" in pages
    assert KEY not in pages
    assert [entry.action for entry in AuditEntry.objects.filter(target_type="provider")] == ["provider.create"]


@pytest.mark.parametrize(
    ("fields", "words_"),
    [
        ({"base_url": "http://169.254.169.254/latest"}, "inside the network"),
        ({"name": "echo"}, "belongs to the provider that answers by itself"),
        ({"known_models": "a b/../c ;"}, "list of up to 500 names"),
        ({"api_key": "two words"}, "visible ASCII characters"),
        ({"name": "taken"}, "already"),
    ],
)
def test_what_the_room_refuses_is_said_beside_its_field(
    console: Client, acme: Organization, fields: dict[str, str], words_: str
) -> None:
    provider(acme, name="taken")
    answer = console.post(reverse("admin:llm_gateway_provider_add"), form(organization="acme", **fields))
    assert answer.status_code == 200
    assert any(words_ in error for errors in answer.context["adminform"].form.errors.values() for error in errors)
    assert Provider.objects.count() == 1


def test_an_empty_key_stays_another_host_clears_it_and_one_may_be_forgotten(
    console: Client, acme: Organization
) -> None:
    row = provider(acme)
    page = reverse("admin:llm_gateway_provider_change", args=[row.pk])
    console.post(page, form(priority="3", auth="api-key"))
    row.refresh_from_db()
    assert (row.auth, row.priority, sealed.read(row, "api_key")) == ("api-key", 3, KEY)
    console.post(page, form(base_url="https://93.184.215.15/v1"))
    row.refresh_from_db()
    assert not row.api_key
    console.post(page, form(base_url="https://93.184.215.15/v1", api_key=KEY))
    console.post(page, form(base_url="https://93.184.215.15/v1", forget_key="on"))
    row.refresh_from_db()
    assert not row.api_key


def test_the_button_makes_a_call_and_says_what_came_of_it(console: Client, acme: Organization) -> None:
    echo = provider(acme, name="parrot", dialect="echo", base_url="", known_models=[])
    silent = provider(acme, known_models=[])
    answer = console.post(reverse("admin:llm_gateway_provider_test", args=[echo.pk]), {"back": "list"})
    assert answer["Location"] == LIST
    assert "parrot works: echo said “ping” in" in told(answer)
    assert AuditEntry.objects.get(action="provider.test").target_id == echo.provider_id
    assert "say which one to ask" in told(console.post(reverse("admin:llm_gateway_provider_test", args=[silent.pk])))
    assert console.get(reverse("admin:llm_gateway_provider_test", args=[echo.pk])).status_code == 405


def test_a_name_of_everybodys_is_not_blamed_for_an_organizations_own(console: Client, acme: Organization) -> None:
    organizations.create("beta", name="Beta", acting_user=None)
    provider(None), provider(acme)
    made(1, error="api_error"), made(2), made(3, organization_id="beta"), made(4, ago_seconds=4000)
    text = console.get(LIST).content.decode()
    assert "2 calls · 50.0 % failed · 200 ms" in text
    assert "1 calls · 0.0 % failed · 200 ms" in text
    found = health.recent(now=timezone.now())
    assert {key[0]: one.requests for key, one in found.items()} == {"acme": 2, "beta": 1}
    assert health.recent(now=timezone.now() + timedelta(hours=2)) == {}


def test_the_environments_providers_are_named_and_echo_is_no_model(console: Client, settings: Any) -> None:
    settings.LLM_ENVIRONMENT = {"openai": ("openai", "", KEY, False)}
    text = console.get(LIST).content.decode()
    assert "····WXYZ" in text
    assert KEY not in text
    assert "no model: says the last message again" in text


def test_a_prompts_page_says_who_answered_or_was_asked_last(console: Client, acme: Organization) -> None:
    for number, (status, words_) in enumerate((("completed", "Answered by"), ("failed", "Asked last"))):
        row = Prompt.objects.create(
            prompt_id=f"prm_{number}", organization=acme, requested_model="smart", provider="ours", model="small",
            status=status, created_by="ann", created_at=timezone.now(),
        )  # fmt: skip
        text = console.get(reverse("admin:llm_gateway_prompt_change", args=[row.pk])).content.decode()
        assert words_ in text
        assert "ours/small" in text


def test_the_environments_providers_are_tried_by_the_same_button_and_its_test_is_audited(
    console: Client, settings: Any
) -> None:
    settings.LLM_ENVIRONMENT = {"openai": ("openai", "http://127.0.0.1:9/v1", KEY, False)}
    echo, ours, nobody = (
        reverse("admin:llm_gateway_provider_environment", args=[name]) for name in ("echo", "openai", "azure")
    )
    assert all(url in console.get(LIST).content.decode() for url in (echo, ours))
    answer = console.post(echo)
    assert answer["Location"] == LIST
    assert "echo works: echo said “ping” in" in told(answer)
    assert "say which one to ask" in told(console.post(ours))
    assert "openai did not answer (gpt-5," in told(console.post(ours, {"model": "gpt-5"}))
    assert KEY not in str(AuditEntry.objects.values())
    rows = AuditEntry.objects.filter(action="provider.test").order_by("pk")
    assert [(row.target_id, row.organization_id, (row.after or {})["is_working"]) for row in rows] == [
        ("env:echo", "", True), ("env:openai", "", False),
    ]  # fmt: skip
    assert console.post(nobody).status_code == 404
    assert console.get(ours).status_code == 405
    vera = Client()
    vera.force_login(User.objects.create_user("vera", is_staff=True))
    assert vera.post(ours).status_code in (302, 403)
    assert rows.count() == 2


def test_the_environments_providers_say_how_they_have_been(console: Client, acme: Organization, settings: Any) -> None:
    settings.LLM_ENVIRONMENT = {"ours": ("openai", "http://127.0.0.1:9/v1", KEY, False)}
    organizations.create("beta", name="Beta", acting_user=None)
    made(1, error="api_error"), made(2), made(3, organization_id="beta", model="large")
    empty, before = console.get(LIST).content.decode(), queries(console, LIST)
    assert "3 calls · 33.3 % failed · 200 ms" in empty
    assert 'value="small"' in empty  # what is asked of it most is what a test asks
    provider(acme)
    assert "1 calls · 0.0 % failed · 200 ms" in console.get(LIST).content.decode()  # Acme's go to its own now
    provider(None)
    assert console.get(LIST).content.decode().count("No calls") == 2  # echo, and the one behind everybody's
    assert queries(console, LIST) == before


# --- the log ---------------------------------------------------------------------------------------------------------


def test_the_log_says_who_called_what_and_what_it_cost(console: Client, acme: Organization) -> None:
    key, _ = keys.create(acme, name="support-bot", acting_user=None, role="operator")
    made(1, key_id=key.key_id, input_tokens=1200, output_tokens=40, cost_usd_micros=1234, first_token_ms=90.0)
    made(2, user="alice", error="api_error")
    text = console.get(LOG).content.decode()
    for word in ("support-bot", "alice", "$0.001234", "1\u202f200", "210 ms", "first 90 ms", "→ small", "api_error"):
        assert word in text, word
    for query, expected in (
        ("provider=ours", 2), ("provider=other", 0), ("model=smart", 2), ("model=small", 2), ("key=support-bot", 1),
        (f"key={key.key_id}", 1), ("user=alice", 1), ("status__exact=failed", 1), ("organization=acme", 2),
        ("organization=nowhere", 0), (f"q={2:024x}", 1), ("started_at_from_0=2099-01-01", 0),
    ):  # fmt: skip
        assert len(console.get(f"{LOG}?{query}").context["cl"].result_list) == expected, query


def test_an_empty_log_says_how_to_begin(console: Client) -> None:
    assert 'base_url="http://testserver/v1"' in console.get(LOG).content.decode()
    assert "Nothing matches" in console.get(f"{LOG}?provider=x").content.decode()


def test_the_mark_moves_when_a_call_comes_or_ends(console: Client, acme: Organization) -> None:
    seen = [mark()]
    made(1)
    seen.append(mark())
    Call.objects.update(status="running")
    seen.append(mark())
    assert len(set(seen)) == 3
    assert console.get(reverse("admin:llm_gateway_call_newest")).json() == {"mark": seen[-1]}


def test_the_cost_of_a_call_is_added_up_as_it_was(console: Client, acme: Organization) -> None:
    price = {"input": "3", "output": "15", "cached_input": "0.30", "cache_write": "3.75", "source": "genai-prices"}
    row = made(1, input_tokens=1000, cached_input_tokens=300, cache_write_tokens=100, output_tokens=50,
               cost_usd_micros=3015, price=price, first_token_ms=20.0)  # fmt: skip
    lines = [(line.what, line.tokens, line.rate, line.usd) for line in call_pieces.arithmetic(row)]
    assert lines == [
        ("Input", "600", "$3.00", "$0.0018"),
        ("Input from the provider's cache", "300", "$0.30", "$0.00009"),
        ("Input written to its cache", "100", "$3.75", "$0.000375"),
        ("Output", "50", "$15.00", "$0.00075"),
    ]
    text = console.get(reverse("admin:llm_gateway_call_change", args=[row.pk])).content.decode()
    assert "$0.003015" in text
    assert "long input" not in text
    Call.objects.update(cost_usd_micros=6000)
    assert "long input" in console.get(reverse("admin:llm_gateway_call_change", args=[row.pk])).content.decode()


def test_attempts_stand_where_they_were_on_the_line_of_time(acme: Organization) -> None:
    now = timezone.now()
    row = Call(call_id="c", requested_model="m", started_at=now, latency_ms=1000.0, first_token_ms=500.0,
               status="completed")  # fmt: skip
    tries = [
        Attempt(
            number=1, provider="a", model="m", started_at=now, latency_ms=250.0, error="overloaded", http_status=529
        ),
        Attempt(number=2, provider="b", model="m", started_at=now + timedelta(milliseconds=400), latency_ms=600.0),
    ]
    whole, failed, good = call_pieces.draw(row, tries, now=now)
    assert (whole.left, whole.width, whole.mark) == ("0.00", "100.00", "50.00")
    assert (failed.left, failed.width, failed.mark, failed.tone) == ("0.00", "25.00", None, "red")
    assert (good.left, good.width, good.mark, good.tone) == ("40.00", "60.00", "50.00", "green")
    assert failed.text == "overloaded · HTTP 529 · 250 ms"


def test_an_attempt_begins_before_its_first_token_whatever_two_clocks_say(acme: Organization) -> None:
    now = timezone.now()
    row = Call(call_id="c", requested_model="m", started_at=now, latency_ms=1.0, first_token_ms=0.3, status="completed")
    echo = Attempt(
        number=1, provider="echo", model="echo", started_at=now + timedelta(milliseconds=0.6), latency_ms=0.2
    )
    whole, one = call_pieces.draw(row, [echo], now=now)
    assert (one.left, one.mark, whole.mark) == ("30.00", "30.00", "30.00")


@pytest.mark.parametrize(
    ("micros", "text"),
    [(0, "$0.00"), (7, "$0.000007"), (99_999, "$0.099999"), (100_000, "$0.10"), (12_345_678_000, "$12,345.68")],
)
def test_money_shows_all_places_where_it_is_little(micros: int, text: str) -> None:
    assert words.usd(micros) == text


def test_the_page_of_a_prompt_leads_to_its_organization_and_its_task(console: Client, acme: Organization) -> None:
    task = work.create(acme, task_type="x", payload={}, priority=5, acting_user=None)
    for number, task_id in enumerate((task.task_id, "tsk_gone")):
        Prompt.objects.create(prompt_id=f"prm_{number}", organization=acme, created_at=timezone.now(), task_id=task_id)
    asked, orphan = (
        console.get(reverse("admin:llm_gateway_prompt_change", args=[row.pk])).content.decode()
        for row in Prompt.objects.order_by("pk")
    )
    assert reverse("admin:orgs_organization_change", args=["acme"]) in asked
    assert f'href="{reverse("admin:orchestrators_task_change", args=[task.pk])}"' in asked
    assert "tsk_gone" in orphan


# --- the playground --------------------------------------------------------------------------------------------------


def test_the_playgrounds_token_is_the_persons_own_and_costs_a_csrf_token(console: Client, acme: Organization) -> None:
    url = reverse("admin:llm_gateway_call_token")
    assert console.get(url).status_code == 405
    careful = Client(enforce_csrf_checks=True)
    careful.force_login(User.objects.get())
    assert careful.post(url).status_code == 403
    answer = console.post(url)
    assert set(answer.json()) == {"access_token", "expires_in"}
    assert "no-store" in answer["Cache-Control"]
    asked = Presented(answer.json()["access_token"], "acme")
    standing: Any = callers.identify([asked], load=lambda _: {})[asked]
    assert (standing.name, standing.organization_id) == ("root", "acme")


@pytest.mark.parametrize("who", ["", "vera"])
def test_nobody_else_gets_a_token_or_sees_a_page(who: str, acme: Organization) -> None:
    client = Client()
    if who:
        client.force_login(User.objects.create_user(who, is_staff=True))
    for name in ("call_token", "call_playground", "call_outcome", "call_newest"):
        answer = client.post(reverse(f"admin:llm_gateway_{name}"))
        assert (answer.status_code, answer.content) in [(302, b""), (403, b"")], name


def test_the_outcome_is_the_call_that_was_asked_for_and_the_persons_own(console: Client, acme: Organization) -> None:
    """Two tabs of one person each see their own."""
    url = reverse("admin:llm_gateway_call_outcome")
    first, second = (made(number, user="root", ago_seconds=0, cost_usd_micros=number) for number in (1, 2))
    told = [console.get(url, {"call": call.pk}).json() for call in (first, second)]
    assert [found["cost"] for found in told] == ["$0.000001", "$0.000002"]
    assert console.get(told[0]["url"]).status_code == 200
    other = made(3, user="alice", ago_seconds=0)
    for call in (other.pk, "nothing", ""):
        assert console.get(url, {"call": call}).json() == {"status": "running"}


def test_the_playground_begins_with_a_good_organization_and_model(console: Client, acme: Organization) -> None:
    organizations.create("zeta", name="Zeta", acting_user=None)
    url = reverse("admin:llm_gateway_call_playground")
    assert console.get(url).context["organization"] == "acme"
    chosen = console.get(f"{url}?organization=zeta&model=smart").context
    assert (chosen["organization"], chosen["model"]) == ("zeta", "smart")
    Organization.objects.update(is_active=False)
    for page in (url, reverse("admin:llm_gateway_prompt_ask")):
        text = console.get(page).content.decode()
        assert "Make an organization first" in text
        assert reverse("admin:orgs_organization_add") in text
        assert "data-talk" not in text
