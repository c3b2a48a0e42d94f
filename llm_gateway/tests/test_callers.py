"""Callers, routing and breakers: what is remembered, for how long, and that a warm call asks no database."""

import asyncio
import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import OperationalError, connections
from django.db.backends.signals import connection_created

from llm_gateway.plane import app, catalog, choosing, planes, refusals, routing
from llm_gateway.plane.breakers import FAILURES, Breakers
from llm_gateway.plane.callers import Callers, Presented
from llm_gateway.plane.catalog import Choice, Source, View
from llm_gateway.plane.exchange import Exchange
from llm_gateway.plane.wishes import Wishes
from moolai.errors import AppError
from orgs import keys
from orgs.models import Organization

OPENAI = Source("env:openai", "openai", "openai", "https://api.openai.com/v1", "k")
OURS = Source("prv_1", "ours", "openai", "https://ours.example/v1", "k", models=frozenset({"small", "org/large"}))
LOCAL = Source("env:ollama", "ollama", "openai", "http://127.0.0.1:11434/v1", "", is_local=True, networks=None)
VIEW = View(
    (OURS, OPENAI, LOCAL),
    {"ours": OURS, "openai": OPENAI, "ollama": LOCAL},
    {
        "smart": (Choice("openai/gpt-4o", None), Choice("ours/small", None)),
        "mixed": (Choice("small", 3.0), Choice("gpt-4o", 1.0), Choice("ollama/llama3", None)),
        "gone": (Choice("anthropic/claude-3-5-haiku", None),),
        "lost": (Choice("nobody/x", 1.0), Choice("smart", None), Choice("ours/other", None)),
    },
)


def names(model: str, *rolls: float) -> list[str]:
    """Return where a call for a model goes, as `provider/model`."""
    dice = itertools.cycle(rolls or (0.0,))
    return [f"{one.source.name}/{one.model}" for one in routing.find(VIEW, model, roll=lambda: next(dice))]


# --- routing and breakers: pure ---------------------------------------------------------------------------------------


@pytest.mark.once
@pytest.mark.parametrize(
    ("model", "found"),
    [
        ("openai/gpt-4o", ["openai/gpt-4o"]),
        ("gpt-4o", ["openai/gpt-4o"]),
        ("small", ["ours/small"]),
        ("org/large", ["ours/org/large"]),
        ("ollama/any:7b", ["ollama/any:7b"]),
        ("smart", ["openai/gpt-4o", "ours/small"]),
    ],
)
def test_a_name_leads_to_its_providers(model: str, found: list[str]) -> None:
    assert names(model) == found


@pytest.mark.once
def test_weights_share_the_calls_and_the_rest_are_fallbacks() -> None:
    assert names("mixed", 0.0) == ["ours/small", "openai/gpt-4o", "ollama/llama3"]
    assert names("mixed", 0.8) == ["openai/gpt-4o", "ours/small", "ollama/llama3"]


@pytest.mark.once
@pytest.mark.parametrize(
    ("model", "variable"),
    [
        ("claude-sonnet-4", "ANTHROPIC_API_KEY"),
        ("anthropic/x", "ANTHROPIC_API_KEY"),
        ("gemini-2.0-flash", "GOOGLE_API_KEY"),
        ("gone", "ANTHROPIC_API_KEY"),
        ("vllm/x", "VLLM_BASE_URL"),
    ],
)
def test_what_is_known_and_not_set_up_names_the_variable(model: str, variable: str) -> None:
    with pytest.raises(routing.Unconfigured) as caught:
        routing.find(VIEW, model)
    assert caught.value.variable == variable


@pytest.mark.once
def test_a_bare_name_goes_to_its_familys_own_service_alone() -> None:
    def provider(name: str, dialect: str, url: str) -> Source:
        return Source(f"prv_{name}", name, dialect, url, "k", is_common=False)

    def places(*sources: Source) -> list[str]:
        view = View(sources, {source.name: source for source in sources}, {})
        return [f"{one.source.name}/{one.model}" for one in routing.find(view, "gpt-4o")]

    proxy, azure = (
        provider("proxy", "openai", "https://proxy.example/v1"),
        provider("azure", "openai", "https://a.example"),
    )
    assert places(proxy, azure, OPENAI) == ["openai/gpt-4o"]
    assert places(proxy, provider("ours", "openai", "https://api.openai.com/v1/")) == ["ours/gpt-4o"]
    assert places(proxy, provider("openai", "openai", "https://proxy.example/v1")) == ["openai/gpt-4o"]
    lookalike = provider("near", "openai", "https://api.openai.com.example/v1")
    for others in ((proxy,), (azure,), (lookalike,), (LOCAL,), (provider("openai", "anthropic", "https://x.example"),)):
        with pytest.raises(routing.Unconfigured) as caught:
            places(*others)
        assert caught.value.variable == "OPENAI_API_KEY"


@pytest.mark.once
def test_an_alias_that_leads_nowhere_names_its_targets() -> None:
    with pytest.raises(routing.DeadEnds) as caught:
        routing.find(VIEW, "lost")
    assert caught.value.models == ("nobody/x", "smart", "ours/other")
    told = refusals.dead_ends("lost", caught.value)
    assert (told.status, told.code) == (404, "model_not_found")
    assert all(f"`{name}`" in told.message for name in ("lost", "nobody/x", "smart", "ours/other"))


@pytest.mark.once
@pytest.mark.parametrize("model", ["nobody", "ours/other", "nobody/x", "llama3", "", "/"])
def test_what_nobody_knows_is_unknown(model: str) -> None:
    with pytest.raises(routing.Unknown):
        routing.find(VIEW, model)


@pytest.mark.once
def test_a_breaker_opens_after_failures_in_a_row_and_lets_one_probe_through() -> None:
    now = [100.0]
    breakers, key = Breakers(lambda: now[0]), ("p", "m")
    for _ in range(FAILURES - 1):
        breakers.fail(key)
    assert breakers.enter(key)
    breakers.fail(key)
    assert (breakers.enter(key), breakers.state(key)) == (False, "open")
    now[0] += 5.1
    assert [breakers.enter(key) for _ in range(3)] == [True, False, False]
    breakers.fail(key)
    assert breakers.seconds_left(key) == pytest.approx(10)
    now[0] += 10.1
    assert breakers.enter(key)
    breakers.leave(key)  # a probe whose caller left says nothing
    assert breakers.enter(key)
    breakers.succeed(key)
    assert breakers.enter(key)
    assert (breakers.enter(key), breakers.state(key), breakers.states("p")) == (True, "closed", {})


@pytest.mark.once
def test_who_wants_no_fallback_is_not_answered_by_another_target() -> None:
    class Here:  # what choosing reads of a plane
        breakers, catalog = Breakers(), SimpleNamespace(view=lambda organization_id: VIEW)

    who = SimpleNamespace(organization_id="acme", held=SimpleNamespace(models=()))

    def asked(wish: Wishes) -> list[str]:
        return [one.source.name for one in choosing.targets(Here, who, "smart", wish)]  # type: ignore[arg-type]

    assert asked(Wishes(fallbacks=())) == ["openai"]
    for _ in range(FAILURES):
        Here.breakers.fail((OPENAI.key, "gpt-4o"))
    assert asked(Wishes()) == ["ours", "openai"]
    assert asked(Wishes(fallbacks=())) == ["openai"]
    assert asked(Wishes(fallbacks=("ollama/x",))) == ["ours", "ollama"]


@pytest.mark.once
def test_failures_far_apart_open_nothing() -> None:
    now = [0.0]
    breakers, key = Breakers(lambda: now[0]), ("p", "m")
    for _ in range(FAILURES * 2):
        breakers.fail(key)
        now[0] += 61
    assert breakers.enter(key)


# --- callers ----------------------------------------------------------------------------------------------------------


def nothing(_: Any) -> dict[tuple[str, str], Any]:
    """Load no limits."""
    return {}


class Desk:
    """Does database work on the spot, unless it is away; counts how often it was asked."""

    def __init__(self) -> None:
        self.asked, self.is_away, self.hangs = 0, False, False

    async def __call__(self, work: Any) -> Any:
        self.asked += 1
        if self.is_away:
            raise OperationalError("away")
        if self.hangs:
            await asyncio.sleep(8)
        return await asyncio.get_running_loop().run_in_executor(None, closing, work)


def closing(work: Any) -> Any:
    """Run `work`, and leave no connection behind."""
    try:
        return work()
    finally:
        connections.close_all()


@pytest.fixture
def secret(transactional_db: None) -> str:
    organization = Organization.objects.create(organization_id="acme", name="Acme")
    return keys.create(organization, name="k", acting_user=None, role="operator")[1]


@pytest.mark.once
async def test_while_the_database_is_away_known_callers_are_served_and_unknown_ones_told(
    secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk()
    callers = Callers(desk, nothing)
    standing = await callers.find(Presented(secret))
    assert standing.organization_id == "acme"
    desk.is_away = True
    clock = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: clock() + 30)
    assert (await callers.find(Presented(secret))) == standing
    with pytest.raises(AppError) as unknown:
        await callers.find(Presented(keys.generate()))
    assert unknown.value.code == "database_unavailable"
    monkeypatch.setattr(time, "monotonic", lambda: clock() + 61)
    with pytest.raises(AppError) as old:
        await callers.find(Presented(secret))
    assert old.value.code == "database_unavailable"
    callers.forget()


@pytest.mark.once
async def test_a_database_that_hangs_keeps_no_known_caller_waiting(
    secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk()
    callers = Callers(desk, nothing)
    standing = await callers.find(Presented(secret))
    clock = time.monotonic
    desk.hangs = True
    monkeypatch.setattr(time, "monotonic", lambda: clock() + 5)
    began = clock()
    assert (await callers.find(Presented(secret))) == standing
    assert (await callers.find(Presented(secret))) == standing
    assert clock() - began < 3
    callers.forget()


@pytest.mark.once
async def test_many_calls_with_a_new_credential_are_one_look(secret: str) -> None:
    desk = Desk()
    callers = Callers(desk, nothing)
    await asyncio.gather(*(callers.find(Presented(secret)) for _ in range(50)))
    assert desk.asked == 1
    wrong = [callers.find(Presented("nonsense")) for _ in range(20)]
    found = await asyncio.gather(*wrong, return_exceptions=True)
    assert {getattr(one, "code", "") for one in found} == {"unauthenticated"}
    assert desk.asked == 2
    callers.forget()


# --- a warm call ------------------------------------------------------------------------------------------------------


class Statements:
    """Counts what is asked of any database on any connection, but for the journal's own thread, beside the calls."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __call__(self, execute: Any, sql: str, *rest: Any) -> Any:
        if threading.current_thread().name != "gateway-journal":
            self.texts.append(sql)
        return execute(sql, *rest)

    def watch(self, connection: Any, **_: Any) -> None:
        connection.execute_wrappers.append(self)


@contextmanager
def counted() -> Iterator[Statements]:
    """Count the statements of connections that are opened in the block."""
    found = Statements()
    connection_created.connect(found.watch)
    try:
        yield found
    finally:
        connection_created.disconnect(found.watch)


async def called(secret: str, body: bytes) -> int:
    """Make one call on bare ASGI and return its status."""
    told: list[dict[str, Any]] = []
    waiting = [{"type": "http.request", "body": body}]

    async def receive() -> dict[str, Any]:
        if waiting:
            return waiting.pop()
        await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        told.append(message)

    headers = [(b"authorization", f"Bearer {secret}".encode())]
    scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": headers}
    await app.serve(Exchange(scope, receive, send, request_id="r"))
    return int(told[0]["status"])


async def test_a_warm_call_asks_no_database(secret: str, settings: Any, tmp_path: Any) -> None:
    settings.JOURNAL_DIR = tmp_path
    body = b'{"model": "echo/echo", "messages": [{"role": "user", "content": "hi"}]}'
    with counted() as statements:
        assert await called(secret, body) == 200
        cold = len(statements.texts)
        assert cold > 0
        plane = planes.current()
        for task in (plane._task, plane.callers._task):  # these look once a second or two, beside the calls
            assert task is not None
            task.cancel()
        before = len(statements.texts)
        for _ in range(20):
            assert await called(secret, body) == 200
        assert len(statements.texts) == before
    await planes.shut_down()


@pytest.mark.once
def test_the_catalog_has_what_the_environment_names(settings: Any) -> None:
    settings.LLM_ENVIRONMENT = {
        "openai": ("openai", "", "sk-1", False),
        "anthropic": ("anthropic", "http://127.0.0.1:9/", "", False),
        "ollama": ("openai", "", "", True),
    }
    view = catalog.EMPTY._put_together("")
    assert {name: source.base_url for name, source in view.by_name.items()} == {
        "openai": "https://api.openai.com/v1", "anthropic": "http://127.0.0.1:9", "echo": "",
    }  # fmt: skip
    assert view.by_name["openai"].networks is None
    assert "sk-1" not in repr(view)
