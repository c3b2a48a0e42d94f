"""One suite, two worlds: prepares the environment before Django's settings load, and offers the shared fixtures.

`MOOLAI_TEST_ON=sqlite` (default) or `postgres`; see `moolai/testing/world.py`.
"""

from __future__ import annotations

import gc
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from moolai.testing import choice, chromium, totals
from moolai.testing import processes as child
from moolai.testing import world as worlds
from moolai.testing.postgres import Postgres
from moolai.testing.product import Installation, ServerProcess
from moolai.testing.proxy import Proxy
from moolai.testing.redis import Redis

if TYPE_CHECKING:
    from django.test import Client
    from playwright.sync_api import Browser, BrowserContext, Page

    from orgs.models import Organization, User

if "DJANGO_SETTINGS_MODULE" in os.environ and "PYTEST_XDIST_WORKER" not in os.environ:
    raise pytest.UsageError("unset DJANGO_SETTINGS_MODULE: the tests choose their own database before settings load")

# A crowded machine is slow, and that says nothing about what is tested.
hypothesis.settings.register_profile(
    "suite", hypothesis.settings(), deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("suite")

_STACK = ExitStack()
WORLD = worlds.enter(_STACK)
DESELECTED = pytest.StashKey[dict[str, int]]()
OPTIONAL = ("faults", "once", "services", "browser")
SLOWEST = 40
FILES = "whole files"
ELSEWHERE = {"faults": " (make faults)", "once": " (run in the other world)", FILES: " (run in the other world)"}


def pytest_configure(config: pytest.Config) -> None:
    """Load the applications; count what is deselected, so that the summary can name it."""
    import django
    from django.conf import settings

    django.setup()
    from monitoring.metrics import flushing

    flushing.stop()  # a test may call the ASGI application: its counts are not to reach the next test's database
    # In this process only: the server processes hash as the product does.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher", *settings.PASSWORD_HASHERS]
    config.stash[DESELECTED] = {}


def pytest_unconfigure() -> None:
    """Stop the servers and remove the directories, also after Ctrl-C."""
    _STACK.close()


def pytest_report_header() -> str:
    """Say at the top what this run tests against."""
    return f"world: {WORLD.describe()}"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the files of the other world unread, unless one is named: to import them takes long."""
    if not (collection_path.name.startswith("test_") and collection_path.suffix == ".py"):
        return None
    if choice.world_of(collection_path) in (None, WORLD.engine):
        return None
    counts = config.stash[DESELECTED]
    counts[FILES] = counts.get(FILES, 0) + 1
    return True


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """Migrate the database that all others are copies of while the workers read the tests."""
    Thread(target=WORLD.make_template, daemon=True).start()


def pytest_collection_finish() -> None:
    """Have the garbage collector pass over the tests and the modules: they stay."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave to the other world what belongs there; skip browser tests by name when there is no browser."""
    elsewhere = [item for item in items if _world_of(item) != WORLD.engine]
    items[:] = [item for item in items if _world_of(item) == WORLD.engine]
    config.hook.pytest_deselected(items=elsewhere)
    if chromium.executable() is None:
        for item in items:
            if "browser" in item.keywords:
                item.add_marker(pytest.mark.skip(reason=chromium.MISSING))


def _world_of(item: pytest.Item) -> str:
    """Return the world a test belongs to: this one, unless its mark `once` names the other."""
    marker = item.get_closest_marker("once")
    return WORLD.engine if marker is None else str((*marker.args, "sqlite")[0])


def pytest_deselected(items: list[pytest.Item]) -> None:
    """Count deselected tests by the marker that makes them optional."""
    for item in items:
        marker = next((name for name in OPTIONAL if name in item.keywords), "other")
        counts = item.config.stash[DESELECTED]
        counts[marker] = counts.get(marker, 0) + 1


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Tell the first process what this worker of pytest-xdist deselected."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["deselected"] = session.config.stash[DESELECTED]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what a worker deselected; all workers deselect the same tests."""
    node.config.stash[DESELECTED] = getattr(node, "workeroutput", {}).get("deselected", {})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name what did not run, and why; keep the counts for `make test` to add up."""
    if WORLD.worker != "main":
        return
    reports = terminalreporter.stats
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in reports.get("skipped", []))
    left_out = config.stash[DESELECTED]
    if reasons or left_out:
        terminalreporter.section("not run")
    for reason, count in reasons.most_common():
        terminalreporter.line(f"{count} skipped: {reason}")
    for marker, count in left_out.items():
        terminalreporter.line(f"{count} deselected: {marker}{ELSEWHERE.get(marker, '')}")
    terminalreporter.section("where the time went")
    for path, seconds in _slowest_files(reports).most_common(SLOWEST):
        terminalreporter.line(f"{seconds:6.1f} s  {path}")
    failed = {report.nodeid for name in ("failed", "error") for report in reports.get(name, [])}
    totals.record(WORLD.engine, {name: len(reports.get(name, [])) for name in totals.OUTCOMES}, failed)


def _slowest_files(reports: Mapping[str, list[Any]]) -> Counter[str]:
    """Return the seconds that each file's tests took, set-up included, over all workers."""
    seconds: Counter[str] = Counter()
    for report in (report for group in reports.values() for report in group):
        if isinstance(report, pytest.TestReport):
            seconds[report.nodeid.partition("::")[0]] += report.duration  # type: ignore[assignment]
    return seconds


@pytest.fixture(scope="session")
def world() -> worlds.World:
    """What this run tests against; `world.engine` is `sqlite` or `postgres`."""
    return WORLD


@pytest.fixture(scope="session")
def django_db_keepdb() -> bool:
    """Leave the test database alone at the end: its whole server or directory goes away with the run."""
    return True


@pytest.fixture(scope="session")
def django_db_modify_db_settings() -> None:
    """Give this process a copy of the migrated database, which it keeps."""
    from django.db import connection

    connection.settings_dict["TEST"]["NAME"] = WORLD.name_of(WORLD.new_database(f"test_{WORLD.worker}"))


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any, request: pytest.FixtureRequest) -> None:
    """Let tests in the suite's own database clean up audit rows; `test_chain.py` has one that refuses."""
    from django.db import connection

    if not any(item.get_closest_marker("django_db") for item in request.session.items):
        return  # there is no such database
    statements = ["DROP TRIGGER IF EXISTS audit_log_no_change ON audit_log"]
    if connection.vendor == "sqlite":
        statements = ["DROP TRIGGER IF EXISTS audit_log_no_update", "DROP TRIGGER IF EXISTS audit_log_no_delete"]
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
    connection.ops.sql_flush = _delete_what_is_there  # type: ignore[assignment, method-assign]


def _delete_what_is_there(style: object, tables: list[str], **options: object) -> list[str]:
    """Return what empties the tables after a test that committed, but for what migrations put there.

    Django would truncate them all, which makes hundreds of files anew, and then make hundreds of permissions again.
    """
    from django.db import connection

    emptied = sorted({*tables} - {"django_content_type", "auth_permission"})
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(f"SELECT '{name}' WHERE EXISTS (SELECT 1 FROM {name})" for name in emptied))
        return [f"DELETE FROM {name}" for (name,) in cursor.fetchall()]


@pytest.fixture
def root(db: None) -> User:
    """A superadmin."""
    from orgs.models import User
    from orgs.tests.desk import PASSWORD

    return User.objects.create_superuser("root", password=PASSWORD)


@pytest.fixture
def console(client: Client, root: User) -> Client:
    """A browser that the superadmin is signed in with."""
    client.force_login(root)
    return client


@pytest.fixture
def acme(db: None) -> Organization:
    """An organization."""
    from orgs import organizations

    return organizations.create("acme", name="Acme", acting_user=None)


@pytest.fixture
def free_port() -> int:
    """A TCP port that nobody listens on."""
    return child.free_port()


@pytest.fixture(scope="session")
def _postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


@pytest.fixture(scope="session")
def _redis() -> Iterator[Redis]:
    with Redis() as server:
        yield server


@pytest.fixture
def postgres(_postgres: Postgres) -> Iterator[Postgres]:
    """A durable PostgreSQL to stop, kill and freeze, in either world; it runs again for the next test."""
    yield _postgres
    _postgres.resume()
    if not _postgres.is_running:
        _postgres.start()


@pytest.fixture
def redis_server(_redis: Redis) -> Iterator[Redis]:
    """A Redis to stop, kill, freeze and flush, in either world; it runs again, empty, for the next test."""
    yield _redis
    _redis.resume()
    _redis.restart()


@pytest.fixture
def installation() -> Iterator[Callable[..., Installation]]:
    """Make installations of the product: `installation(env={…})`; migrated, nothing running yet, killed at the end."""
    with ExitStack() as stack:
        yield lambda env=None: stack.enter_context(WORLD.installation(env))


@pytest.fixture
def web(installation: Callable[..., Installation]) -> Callable[..., ServerProcess]:
    """Start web processes with a database each: `web(env={…})`; killed at the end."""
    return lambda env=None: installation(env).serve()


@pytest.fixture
def proxy() -> Iterator[Callable[..., Proxy]]:
    """Put a bad network in front of a port: `proxy(port, delay_ms=500)`."""
    with ExitStack() as stack:
        yield lambda port, **options: stack.enter_context(Proxy(port, **options))


@pytest.fixture(scope="module")
def _browser() -> Iterator[Browser]:
    with chromium.running() as browser:
        yield browser


@pytest.fixture
def browser_context(_browser: Browser) -> Iterator[BrowserContext]:
    """A fresh browser profile; the module that uses it must not touch the ORM (see `chromium.running`)."""
    context = _browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(30_000)
    yield context
    context.close()


@pytest.fixture
def chromium_page(browser_context: BrowserContext) -> Page:
    """A page in a fresh browser profile."""
    return browser_context.new_page()
