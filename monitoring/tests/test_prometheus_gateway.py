"""The gateway's metrics: what calls leave in them, with labels that are few and name no organization."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from llm_gateway.cache import counts as caching
from llm_gateway.guardrails import counts as guarding
from llm_gateway.guardrails import rules
from llm_gateway.guardrails.guard import Blocked, Held
from llm_gateway.models import Guardrails
from llm_gateway.money import draining
from llm_gateway.money.journal import Journal
from llm_gateway.money.records import Begin
from llm_gateway.plane import catalog
from llm_gateway.plane.catalog import NO_POLICY, Source
from llm_gateway.plane.routing import Target
from llm_gateway.usage import Usage
from llm_gateway.watching import counts, observer
from llm_gateway.watching.counts import MAX_MODELS, Counts
from llm_gateway.watching.observer import Observer
from monitoring.tests import scrape
from moolai.testing import promtool
from orgs.tests import cast
from orgs.tests.cast import Cast

pytestmark = [pytest.mark.once, pytest.mark.django_db]
COMMON = Source("env:openai", "openai", "openai", "https://api.openai.com/v1", "k")
OWN = Source("prv_1", "acme-secret-project", "openai", "https://ours.example/v1", "k", is_common=False)


class Account:
    """A call that is over, as the observer is told of it."""

    def __init__(self, source: Source, model: str, *, status: str = "completed", ms: float = 300.0) -> None:
        self.target = self.party = Target(source, model)
        self.status, self.usage, self.cost_usd_micros = status, Usage(input_tokens=11, output_tokens=7), 1_500_001
        self.latency_ms = self.elapsed_ms = ms
        self.first_token_ms = ms / 3
        self.saved_usd_micros: int | None = None


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Counts:
    """Put empty counts in the place of this process's."""
    found = Counts()
    monkeypatch.setattr(counts, "COUNTS", found)
    for room in (caching, guarding):
        monkeypatch.setattr(room, "_counts", Counter())
    return found


@pytest.fixture
def people(settings: Any, tmp_path: Path) -> Cast:
    settings.JOURNAL_DIR = tmp_path
    settings.LLM_ENVIRONMENT = {"openai": ("openai", "", "sk-0123456789abcdef", False)}
    return cast.make(settings)


def over(
    source: Source = COMMON, model: str = "gpt-4o", *, errors: tuple[tuple[str, int | None], ...] = (), **more: Any
) -> None:
    """Let a call begin, be tried once for each error and then well, and end."""
    account: Any = Account(source, model, **more)
    watch = Observer().watch(None, account, NO_POLICY)  # type: ignore[arg-type]
    for error, status in (*errors, ("", 200)):
        watch.tried(account.target, error, status)
    watch.close(account)


def read() -> dict[str, dict[str, float]]:
    """Return {name: {labels but `node`: value}}."""
    found: dict[str, dict[str, float]] = {}
    for (name, pairs), value in scrape.values(Client().get(scrape.PATH).content.decode()).items():
        found.setdefault(name, {})[" ".join(sorted(text for key, text in pairs if key != "node"))] = value
    return found


def test_a_process_without_calls_has_every_series_at_zero(people: Cast) -> None:
    found = read()
    names = {name for name in found if name.startswith("moolai_llm_")}
    assert len(names) >= 20
    assert {value for name in names for value in found[name].values()} == {0.0}
    assert found["moolai_llm_breakers"]["open openai"] == 0


def test_calls_leave_tokens_cost_durations_and_attempts(people: Cast) -> None:
    over(errors=(("some_code", 500), ("rate_limit", 429)))
    over(ms=20_000, status="failed", errors=(("provider_timeout", 504), ("bad", 400), ("interrupted", None)))
    found = read()
    assert found["moolai_llm_calls_total"]["completed gpt-4o openai"] == 1
    assert found["moolai_llm_calls_total"]["failed gpt-4o openai"] == 1
    assert found["moolai_llm_tokens_total"]["gpt-4o input openai"] == 22
    assert found["moolai_llm_cost_usd_total"]["gpt-4o openai"] == 3.000002
    attempts = found["moolai_llm_attempts_total"]
    assert {name: attempts[f"openai {name}" if name > "openai" else f"{name} openai"] for name in counts.RESULTS} == {
        "answered": 2, "refused": 1, "failed": 3, "interrupted": 1,
    }  # fmt: skip
    assert found["moolai_llm_retries_total"]["openai"] == 5
    below = found["moolai_llm_call_duration_seconds_bucket"]
    assert [below[f"{bound} openai"] for bound in ("0.25", "0.5", "10.0", "30.0", "+Inf")] == [0, 1, 1, 2, 2]
    assert found["moolai_llm_call_duration_seconds_sum"]["openai"] == pytest.approx(20.3)
    assert found["moolai_llm_first_token_seconds_count"]["openai"] == 2
    assert found["moolai_llm_calls_in_flight"][""] == 0


def test_labels_name_no_organizations_provider_and_stay_few(people: Cast) -> None:
    over(OWN, "their-own-model")
    over(COMMON, "never-answered", status="failed")
    for number in range(MAX_MODELS + 20):
        over(COMMON, f"model-{number}")
    text = Client().get(scrape.PATH).content.decode()
    for word in ("acme-secret-project", "their-own-model", "never-answered", "prv_1"):
        assert word not in text
    found = read()["moolai_llm_calls_total"]
    assert found["completed organization other"] == 1
    assert found["failed openai other"] == 1
    assert found["completed openai other"] == 22
    assert len(found) <= 3 * (MAX_MODELS + 2)


def test_refusals_are_counted_by_what_is_spent(people: Cast) -> None:
    for unit in ("budget", "requests", "tokens", "calls"):
        observer.refused(unit)
    assert read()["moolai_llm_refusals_total"] == {"budget": 1, "requests": 1, "tokens": 1, "parallel": 1}


def test_the_cache_and_the_guardrails_tell_what_they_did(people: Cast) -> None:
    for name, number in (
        ("hits", 5),
        ("shared_hits", 2),
        ("misses", 3),
        ("stored", 4),
        ("saved_usd_micros", 2_500_000),
    ):
        caching.add(name, number)
    redact, block = {"name": "r", "kind": "redact", "detect": ["email"]}, {"name": "b", "kind": "deny", "words": ["no"]}
    wanted, wrong = rules.normal([redact, block])
    assert not wrong
    Guardrails.objects.create(organization_id="org-001", rules=wanted)
    guards = catalog.read().guards["org-001"]
    assert guards.request.clean("a@example.com, b@example.com") == "[EMAIL], [EMAIL]"
    held = Held(guards.answer)
    assert held.feed("c@exam") + held.feed("ple.com " + "x " * 100) + held.finish() == "[EMAIL] " + "x " * 100
    for guard in (guards.answer, rules.compiled(wanted).answer):  # type: ignore[union-attr]
        with pytest.raises(Blocked):  # the second only shows what it would do
            guard.clean("no")
    found = read()
    assert found["moolai_llm_cache_looks_total"] == {"hit": 5, "miss": 3}
    assert [found[f"moolai_llm_cache_{name}_total"][""] for name in ("shared_hits", "stores", "saved_usd")] == [
        2,
        4,
        2.5,
    ]
    assert found["moolai_llm_guardrail_finds_total"] == {
        "redacted request": 2, "answer redacted": 1, "blocked request": 0, "answer blocked": 1,
    }  # fmt: skip


def test_the_journals_backlog_is_what_the_ledger_lacks(people: Cast, settings: Any) -> None:
    journal = Journal(settings.JOURNAL_DIR, holder="p-1")
    journal.begin(Begin(call_id="c-1", organization_id="org-001", requested_model="m", at=1e9))
    size = read()["moolai_llm_journal_backlog_bytes"][""]
    assert size > 50
    draining.drain_folder(journal.folder)
    journal.begin(Begin(call_id="c-2", organization_id="org-001", requested_model="m", at=1e9))
    assert read()["moolai_llm_journal_backlog_bytes"][""] == size
    draining.drain_folder(journal.folder)
    assert read()["moolai_llm_journal_backlog_bytes"][""] == 0
    journal.close()


@pytest.mark.skipif(promtool.executable() is None, reason=promtool.MISSING)
def test_promtool_has_nothing_to_say(people: Cast) -> None:
    over(errors=(("some_code", 500),))
    over(OWN, "m")
    assert promtool.check("metrics", text=Client().get(scrape.PATH).content) == (0, "")
