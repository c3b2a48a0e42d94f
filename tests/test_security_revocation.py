"""What is taken away ends within five seconds, over HTTP and on open sockets."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.utils import timezone

from monitoring.tests.test_dashboard import cookie, upgrade
from moolai.testing.world import World
from orchestrators import independence, instances
from orchestrators.tests.live import Live, eventually, running
from orchestrators.tests.raw import RawPeer
from orgs import keys, organizations, tokens, users
from orgs.models import Membership, User

pytestmark = [pytest.mark.once("postgres"), pytest.mark.services]
FLEET = "/api/v1/controller/orchestrators"
LIMIT_SECONDS = 5.0


@pytest.fixture(scope="module")
def live(world: World, django_db_blocker: Any) -> Iterator[Live]:
    with running(world, django_db_blocker) as found:
        yield found


@pytest.fixture(autouse=True)
def hang_up(live: Live) -> Iterator[None]:
    yield
    live.hang_up()


def member(live: Live, organization_id: str, *, role: str = "admin") -> tuple[User, Membership, str]:
    """Make a person of an organization with one orchestrator; return it with its access token."""
    organization = live.organization(organization_id)
    instances.create(f"orch-{organization_id}", organization=organization, acting_user=None)
    name = f"member-of-{organization_id}"
    membership = users.create(organization, username=name, role=role, acting_user=None, password="a-long-enough-secret")
    return membership.user, membership, tokens.sign_in(membership.user, now=timezone.now()).access_token


def watching(live: Live, user: User) -> RawPeer:
    """Open a dashboard with the user's console session, and read its snapshot."""
    peer = upgrade(live, key=cookie(user), origin=f"http://127.0.0.1:{live.server.port}")
    assert isinstance(peer, RawPeer)
    peer.send({"type": "subscribe", "topics": ["orchestrators"]})
    assert peer.recv()["type"] == "subscribed"
    assert peer.recv()["orchestrator_id"].startswith("orch-")
    return peer


def sees(live: Live, token: str) -> int:
    """Return how many orchestrators the credential sees, -1 when it is refused."""
    status, body = live.call("GET", FLEET, token=token)
    return len(body["data"]["items"]) if status == 200 else -1


def in_time(condition: Callable[[], bool]) -> bool:
    started = time.monotonic()
    return bool(eventually(condition, LIMIT_SECONDS)) and time.monotonic() - started < LIMIT_SECONDS


def test_a_key(live: Live) -> None:
    row, secret = live.key_row("by-key", role="viewer")
    instances.create("orch-by-key", organization=live.organization("by-key"), acting_user=None)
    peer = live.peer(Authorization=f"Bearer {secret}")
    assert peer.ask({"type": "subscribe", "topics": ["fleet"]}, "subscribed")
    assert sees(live, secret) == 1
    keys.revoke(row, acting_user=None)
    started = time.monotonic()
    assert in_time(lambda: sees(live, secret) == -1)
    assert peer.ending(LIMIT_SECONDS)[1] == 4401
    assert time.monotonic() - started < LIMIT_SECONDS


def test_a_user(live: Live) -> None:
    user, membership, token = member(live, "by-user")
    assert sees(live, token) == 1
    with watching(live, user) as peer:
        users.update(membership, acting_user=None, is_active=False)
        started = time.monotonic()
        assert in_time(lambda: sees(live, token) == -1)
        frames, code = peer.ending(LIMIT_SECONDS)
        assert (frames[-1]["error"], code) == ("unauthenticated", 4401)
        assert time.monotonic() - started < LIMIT_SECONDS


def test_a_password(live: Live) -> None:
    user, membership, token = member(live, "by-password")
    with watching(live, user) as peer:
        users.update(membership, acting_user=None, password="another-long-secret")
        assert in_time(lambda: sees(live, token) == -1)
        assert peer.ending(LIMIT_SECONDS)[1] == 4401


def test_a_role_that_is_lowered(live: Live) -> None:
    _, membership, token = member(live, "by-lower-role")
    path = "/api/v1/internal/orchestrators/orch-by-lower-role/independence"
    assert live.call("PUT", path, {"is_independent": True}, token=token)[0] == 200
    users.update(membership, acting_user=None, role="viewer")
    assert in_time(lambda: live.call("PUT", path, {"is_independent": False}, token=token)[0] == 403)
    assert live.row("orch-by-lower-role").is_independent
    assert sees(live, token) == 1, "reading is still allowed"


def leave(membership: Membership) -> None:
    users.remove(membership, acting_user=None)


def suspend(membership: Membership) -> None:
    organizations.update(membership.organization, acting_user=None, status="suspended")


@pytest.mark.parametrize("end", [leave, suspend])
def test_a_role_and_an_organization(live: Live, end: Callable[[Membership], None]) -> None:
    """Somebody who has a second organization stays signed in, and sees nothing of the first any more."""
    name = f"by-{end.__name__}"
    user, membership, token = member(live, name)
    Membership.objects.create(user=user, organization=live.organization(f"{name}-other"), role="viewer")
    with watching(live, user) as peer:
        independence.set_instance(f"orch-{name}", is_independent=True, acting_user=None)
        assert peer.recv()["is_independent"] is True
        end(membership)
        assert in_time(lambda: sees(live, token) == 0)
        time.sleep(LIMIT_SECONDS)
        independence.set_instance(f"orch-{name}", is_independent=False, acting_user=None)
        peer.socket.settimeout(2)
        with pytest.raises(TimeoutError):
            peer.recv()
