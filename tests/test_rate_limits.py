"""Rate limits: per credential and route, told in headers, shared through Redis, never gone when Redis is."""

from typing import Any

import pytest

from moolai.testing.redis import Redis
from orgs import rates
from orgs.rates import Rate
from orgs.tests.cast import Cast, make

PATH = "/api/v1/controller/orchestrators"


@pytest.fixture
def cast(db: None, settings: Any) -> Cast:
    settings.RATE_LIMITS = {"API": "3/minute"}
    settings.REDIS_URL = ""
    rates._memory.windows.clear()
    return make(settings)


def test_the_answer_tells_what_is_left(cast: Cast) -> None:
    answers = [cast.alice.get(PATH) for _ in range(3)]
    assert [answer.headers["X-RateLimit-Remaining"] for answer in answers] == ["2", "1", "0"]
    assert {answer.headers["X-RateLimit-Limit"] for answer in answers} == {"3"}
    assert int(answers[0].headers["X-RateLimit-Reset"]) > 1_700_000_000


def test_one_call_too_many_is_429_with_the_seconds_to_wait(cast: Cast) -> None:
    for _ in range(3):
        cast.alice.get(PATH)
    answer = cast.alice.get(PATH)
    assert (answer.status_code, answer.json()["error"]) == (429, "rate_limited")
    assert 50 <= int(answer.headers["Retry-After"]) <= 60
    assert answer.headers["X-RateLimit-Remaining"] == "0"


def test_each_credential_and_each_route_has_its_own_count(cast: Cast) -> None:
    for _ in range(4):
        cast.alice.get(PATH)
    assert cast.vera.get(PATH).status_code == 200
    assert cast.alice.get(f"{PATH}/live").status_code == 200


@pytest.mark.parametrize("who", ["nobody", "mallory"])
def test_calls_without_a_good_credential_are_counted_by_address(cast: Cast, who: str) -> None:
    person = getattr(cast, who)
    codes = [person.get(PATH).status_code for _ in range(4)]
    assert codes[-1] == 429
    assert 429 not in codes[:3]


def test_a_forwarded_address_from_outside_changes_nothing(cast: Cast) -> None:
    codes = [cast.nobody.get(PATH, **{"X-Forwarded-For": f"10.0.0.{n}", "X-Real-IP": f"10.0.0.{n}"}) for n in range(4)]
    assert codes[-1].status_code == 429


def test_a_login_is_counted_by_address(cast: Cast) -> None:
    body = {"username": "nobody", "password": "wrong"}
    answers = [cast.nobody.call("POST", "/api/v1/internal/auth/login", body) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [401, 401, 401, 429]


def test_a_window_ends() -> None:
    memory = rates._Memory()
    rate = Rate(1, 60)
    assert [memory.count("a", rate).is_over for _ in range(2)] == [False, True]
    memory.windows["a"][0] -= 61
    assert not memory.count("a", rate).is_over


def test_made_up_addresses_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "MAX_WINDOWS", 100)
    memory = rates._Memory()
    for number in range(1000):
        memory.count(str(number), Rate(1, 60))
    assert len(memory.windows) <= 100


@pytest.mark.parametrize("text", ["600", "600/", "0/minute", "-1/minute", "600/fortnight", "x/minute", "", "²/minute"])
def test_a_rate_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="600/minute"):
        rates.parse(text)


@pytest.mark.parametrize(("text", "rate"), [("600/minute", Rate(600, 60)), ("5/second", Rate(5, 1))])
def test_a_rate_is_read(text: str, rate: Rate) -> None:
    assert rates.parse(text) == rate


@pytest.fixture
def shared(redis_server: Redis, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Redis:
    settings.REDIS_URL = redis_server.url()
    monkeypatch.setattr(rates, "_redis", rates._Redis())
    monkeypatch.setattr(rates, "_memory", rates._Memory())
    return redis_server


def test_processes_share_their_counts_through_redis(shared: Redis) -> None:
    ours, theirs = rates._redis, rates._Redis()
    used = [store.count("bucket", Rate(10, 60)).used for store in (ours, theirs, ours, theirs)]
    assert used == [1, 2, 3, 4]
    assert 50 <= ours.count("bucket", Rate(10, 60)).reset_seconds <= 60


def test_a_redis_that_is_down_leaves_a_limit(shared: Redis) -> None:
    shared.stop()
    assert [rates.count("bucket", Rate(2, 60)).is_over for _ in range(3)] == [False, False, True]


def test_a_redis_that_hangs_is_asked_once(shared: Redis) -> None:
    shared.pause()
    assert rates.count("bucket", Rate(2, 60)).used == 1
    assert rates._redis.asleep_until > 0
    assert rates.count("bucket", Rate(2, 60)).used == 2
