"""The gateway without its database, or without Redis: who is served on, for how long, what is refused, what is kept."""

import asyncio
import json
import resource
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import aiohttp
import pytest

from moolai.testing.processes import wait_until
from moolai.testing.product import ServerProcess
from moolai.testing.proxy import Mode, Proxy
from tests import spenders
from tests.spenders import MAX_TOKENS, Place, opened, request
from tests.till import Plan, Till, micros

pytestmark = [pytest.mark.faults, pytest.mark.timeout(400)]
MODEL = "openai/steady"
SIZE = 200
PRICE = micros(SIZE, MAX_TOKENS)
OUTAGE_SECONDS = 80
REVOKE = """
from orgs import keys
from orgs.models import ApiKey
keys.revoke(ApiKey.objects.get(organization={organization!r}), acting_user=None)
"""


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with opened(tmp_path_factory.mktemp("outage")) as found:
        yield found


@dataclass(frozen=True)
class Answer:
    """What a call was answered: when (monotonic), by which process, how, after how long."""

    at: float
    web: int
    status: int
    code: str
    seconds: float


@dataclass
class Traffic:
    """Calls that go on all the time, some a second to each process, in a thread; and the provider behind them."""

    place: Place
    organization: str
    webs: list[ServerProcess]
    per_second: float = 3.0
    answers: list[Answer] = field(default_factory=list)
    till: Till = field(default_factory=Till)

    def __enter__(self) -> Self:
        self.till.otherwise = lambda name: Plan(name, ["whole"], says=(SIZE, MAX_TOKENS), size=SIZE)
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.is_over.set()
        self.thread.join(30)

    async def _run(self) -> None:
        headers = {"Authorization": f"Bearer {self.place.keys[self.organization]}"}
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        async with (
            self.till.open(self.place.provider_port),
            aiohttp.ClientSession(connector=connector, headers=headers, timeout=aiohttp.ClientTimeout(20)) as client,
        ):
            tasks: list[asyncio.Task[None]] = []
            while not self.is_over.is_set():
                tasks += [asyncio.ensure_future(self._one(client, number)) for number in range(len(self.webs))]
                await asyncio.sleep(1 / self.per_second)
            await asyncio.gather(*tasks)

    async def _one(self, client: aiohttp.ClientSession, number: int) -> None:
        began = time.monotonic()
        status, code = 0, ""
        try:
            async with client.post(self.webs[number].url(spenders.CHAT), data=request(MODEL, size=SIZE)) as answer:
                content = await answer.json()
                status, code = answer.status, str((content.get("error") or {}).get("code", ""))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            code = type(error).__name__
        now = time.monotonic()
        self.answers.append(Answer(now, number, status, code, now - began))

    def counted(self, since: float, until: float = float("inf"), *, web: int | None = None) -> Counter[tuple[int, str]]:
        """Count what calls were answered in some time."""
        found = [one for one in self.answers if since <= one.at < until and web in (None, one.web)]
        return Counter((one.status, one.code) for one in found)

    @property
    def admitted(self) -> int:
        """How many calls were answered well."""
        return sum(one.status == 200 for one in self.answers)


def ready(web: ServerProcess) -> int:
    """Return what /readyz answers."""
    try:
        with urllib.request.urlopen(web.url("/readyz"), timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def chat(web: ServerProcess, key: str) -> tuple[int, str]:
    """Make a call with a key; return the status and the error's code."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    sent = urllib.request.Request(web.url(spenders.CHAT), data=request(MODEL, size=SIZE), headers=headers)
    try:
        with urllib.request.urlopen(sent, timeout=15) as answer:
            return answer.status, ""
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)["error"]["code"]


def finish(place: Place, traffic: Traffic, *, others: int = 0) -> None:
    """See to it that the ledger has every admitted call once, at what the provider billed, and that nothing is held."""
    assert place.settled(traffic.organization)
    status = "SELECT status, count(*) FROM llm_calls WHERE organization_id = %s GROUP BY 1"
    assert dict(place.rows(status, traffic.organization)) == {"completed": traffic.admitted}
    assert traffic.till.billed_micros == (traffic.admitted + others) * PRICE
    assert set(place.books(traffic.organization).values()) == {traffic.admitted * PRICE}


def test_an_outage_of_the_database_is_bridged_for_a_minute_then_said_and_nothing_is_lost(place: Place) -> None:
    place.set_up(["steady", "stranger"])
    place.start(2)
    with Traffic(place, "steady", place.webs, per_second=0.9) as traffic:  # a quarter of a slice is 64 calls
        assert wait_until(lambda: traffic.admitted > 10, timeout_seconds=60)
        assert {ready(web) for web in place.webs} == {200}
        place.postgres.stop()
        stopped_at = time.monotonic()
        time.sleep(4)
        assert {ready(web) for web in place.webs} == {503}
        asked = traffic.till.plan("steady").seen
        assert chat(place.webs[0], place.keys["stranger"]) == (503, "database_unavailable")
        time.sleep(OUTAGE_SECONDS - 5)
        assert {ready(web) for web in place.webs} == {503}
        place.postgres.start()
        back_at = time.monotonic()
        assert wait_until(lambda: {ready(web) for web in place.webs} == {200}, timeout_seconds=5)
        assert wait_until(lambda: traffic.counted(back_at + 5).total() > 10, timeout_seconds=30)
    assert asked
    early = [(one.at - stopped_at, one.code) for one in traffic.answers if one.status != 200]
    assert min(early)[0] > 52
    assert set(traffic.counted(stopped_at, back_at)) == {(200, ""), (503, "database_unavailable")}
    assert set(traffic.counted(stopped_at + 66, back_at)) == {(503, "database_unavailable")}
    assert set(traffic.counted(back_at + 5)) == {(200, "")}
    slowest = max(one.seconds for one in traffic.answers)
    assert slowest < 10
    finish(place, traffic)


@pytest.mark.parametrize("mode", ["reset", "blackhole"])
def test_a_process_that_is_cut_off_spends_only_its_slice_and_learns_of_a_revoked_key_when_it_is_back(
    place: Place, mode: Mode
) -> None:
    calls = 400
    place.set_up(["limited-org"], budget=calls * PRICE / 1_000_000)
    place.set_up(["steady"])
    with Proxy(place.postgres.port) as between:
        url = place.database.replace(f":{place.postgres.port}/", f":{between.port}/")
        place.start(1)
        place.start(1, DATABASE_URL=url)
        own, cut = place.webs
        with Traffic(place, "limited-org", place.webs, per_second=20) as limited:
            assert wait_until(lambda: limited.admitted > 40, timeout_seconds=60)
            assert chat(cut, place.keys["steady"])[0] == 200
            between.mode = mode
            between.reset() if mode == "reset" else None
            cut_at = time.monotonic()
            place.installation.manage("shell", "--no-imports", "-c", REVOKE.format(organization="limited-org"))
            revoked_at = time.monotonic()
            assert wait_until(lambda: (401, "invalid_api_key") in limited.counted(revoked_at, web=0), timeout_seconds=5)
            time.sleep(3)
            between.mode = "pass"
            back_at = time.monotonic()
            assert wait_until(lambda: (401, "invalid_api_key") in limited.counted(back_at, web=1), timeout_seconds=5)
            time.sleep(2)
            assert set(limited.counted(back_at + 5, web=1)) <= {(401, "invalid_api_key")}
        assert ready(own) == ready(cut) == 200
        meanwhile = limited.counted(cut_at, back_at, web=1)
        assert meanwhile[200, ""] > 0
        assert set(meanwhile) <= {(200, ""), (503, "database_unavailable"), (429, "insufficient_quota")}
        assert limited.admitted <= calls
        finish(place, limited, others=1)


def test_a_full_disk_refuses_calls_before_a_provider_is_asked_and_loses_no_end(place: Place) -> None:
    """The disk is full for the web process alone: its files may not grow (RLIMIT_FSIZE)."""
    place.set_up(["steady"])
    place.start(1)
    web, folder = place.webs[0], place.installation.data_dir / "journal"
    with Traffic(place, "steady", place.webs, per_second=10) as traffic:
        assert wait_until(lambda: traffic.admitted > 20, timeout_seconds=60)
        traffic.till.plan("steady").pause_seconds = 1.0  # some calls end while nothing can be written
        time.sleep(1.5)
        _, hard = resource.prlimit(web.pid, resource.RLIMIT_FSIZE)
        size = max(path.stat().st_size for path in folder.glob("*/*.journal"))
        resource.prlimit(web.pid, resource.RLIMIT_FSIZE, (size, hard))
        full_at, asked = time.monotonic(), traffic.till.plan("steady").seen
        time.sleep(3)
        meanwhile = traffic.counted(full_at + 0.2)
        asked_meanwhile = traffic.till.plan("steady").seen - asked
        resource.prlimit(web.pid, resource.RLIMIT_FSIZE, (hard, hard))
        room_at = time.monotonic()
        traffic.till.plan("steady").pause_seconds = 0.0
        time.sleep(3)
    assert set(meanwhile) == {(200, ""), (503, "overloaded")}
    assert asked_meanwhile <= 2  # those between reading the size and setting the limit
    assert set(traffic.counted(room_at + 1.5)) == {(200, "")}
    finish(place, traffic)
    web.kill()
    folder.rename(folder.with_name("elsewhere"))
    folder.write_text("no folder can be made here")
    web.start()
    assert chat(web, place.keys["steady"]) == (503, "overloaded")
    folder.unlink()
    folder.with_name("elsewhere").rename(folder)
    assert wait_until(lambda: chat(web, place.keys["steady"])[0] != 503, timeout_seconds=10)


def test_without_redis_calls_go_on_and_a_revoked_key_is_refused_by_every_process(place: Place) -> None:
    place.set_up(["steady"])
    place.start(2)
    with Traffic(place, "steady", place.webs) as traffic:
        assert wait_until(lambda: traffic.admitted > 10, timeout_seconds=60)
        place.redis.stop()
        stopped_at = time.monotonic()
        time.sleep(6)
        assert {ready(web) for web in place.webs} == {200}
        assert set(traffic.counted(stopped_at)) == {(200, "")}
        place.installation.manage("shell", "--no-imports", "-c", REVOKE.format(organization="steady"))
        revoked_at = time.monotonic()
        time.sleep(7)
        assert set(traffic.counted(revoked_at + 5)) == {(401, "invalid_api_key")}
        place.redis.start()
        assert {ready(web) for web in place.webs} == {200}
    finish(place, traffic)
