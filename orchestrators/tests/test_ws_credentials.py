"""Who may open which session: every credential a register can come with, and what becomes of a session when it dies."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from moolai.testing.product import ServerProcess
from moolai.testing.world import World
from orchestrators import instances
from orchestrators.models import Instance
from orchestrators.tests.live import DEV_TOKEN, Live, eventually, running
from orgs import keys, organizations
from orgs.models import AuditEntry

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def live(world: World, django_db_blocker: Any) -> Iterator[Live]:
    with running(world, django_db_blocker) as found:
        yield found


@pytest.fixture(autouse=True)
def hang_up(live: Live) -> Iterator[None]:
    yield
    live.hang_up()


def opening(orchestrator_id: str, **fields: Any) -> dict[str, Any]:
    return {"type": "register", "orchestrator_id": orchestrator_id, **fields}


def bearer(secret: str) -> dict[str, Any]:
    return {"Authorization": f"Bearer {secret}"}


# --- where a credential may stand ---------------------------------------------------------------------------------


def test_header_token_and_both_the_same_are_good(live: Live) -> None:
    key = live.key()
    for headers, fields in (
        (bearer(key), {}),
        ({}, {"token": key}),
        (bearer(key), {"token": key}),
        ({"X_API_Key": key}, {}),
    ):
        peer = live.peer(**headers)
        assert peer.ask(opening(live.new_id(), **fields), "handshake_ack")["success"] is True


def test_two_that_differ_are_refused_though_both_are_good(live: Live) -> None:
    refusal = live.refused(opening(live.new_id(), token=live.key()), **bearer(live.key()))
    assert (refusal["type"], refusal["error"], refusal["close"]) == ("handshake_ack", "unauthenticated", 4401)


@pytest.mark.parametrize("name", ["token", "access_token", "api_key", "key", "Authorization"])
def test_a_credential_in_the_query_string_is_refused_even_beside_a_good_one(live: Live, name: str) -> None:
    key = live.key()
    refusal = live.refused(opening(live.new_id()), path=f"/ws?{name}={key}")
    assert (refusal["type"], refusal["error"], refusal["close"]) == ("handshake_ack", "unauthenticated", 4401)
    refusal = live.refused(opening(live.new_id()), path=f"/ws?{name}={key}", **bearer(key))
    assert (refusal["type"], refusal["close"]) == ("handshake_ack", 4401)
    assert key not in live.server.output()


def test_no_credential_is_4401(live: Live) -> None:
    refusal = live.refused(opening(live.new_id()))
    assert (refusal["type"], refusal["error"], refusal["close"]) == ("handshake_ack", "unauthenticated", 4401)


@pytest.mark.parametrize(
    "secret", ["mk_x", "x" * 46, "", "' OR 1=1 --", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.", "ä" * 40, "k" * 8000]
)
def test_a_malformed_credential_is_4401(live: Live, secret: str) -> None:
    refusal = live.refused(opening(live.new_id(), token=secret))
    assert (refusal["type"], refusal["error"], refusal["close"]) == ("handshake_ack", "unauthenticated", 4401)


@pytest.mark.parametrize("token", [7, ["a"], {"a": 1}, True])
def test_a_token_that_is_no_string_is_4401(live: Live, token: Any) -> None:
    refusal = live.refused(opening(live.new_id(), token=token))
    assert (refusal["error"], refusal["close"]) == ("unauthenticated", 4401)


@pytest.mark.parametrize("header", ["Basic dXNlcjpwYXNz", "Bearer", "Bearer ", "Token abc"])
def test_another_authorization_header_is_no_credential(live: Live, header: str) -> None:
    refusal = live.refused(opening(live.new_id()), Authorization=header)
    assert (refusal["error"], refusal["close"]) == ("unauthenticated", 4401)


# --- which credential ---------------------------------------------------------------------------------------------


def test_a_wrong_expired_or_revoked_key_is_4401(live: Live) -> None:
    old, expired = live.key_row()
    old.expires_at = datetime.now(UTC) - timedelta(seconds=1)
    old.save(update_fields=["expires_at"])
    row, revoked = live.key_row()
    keys.revoke(row, acting_user=None)
    for secret in (keys.generate(), expired, revoked):
        refusal = live.refused(opening(live.new_id()), **bearer(secret))
        assert (refusal["error"], refusal["close"]) == ("unauthenticated", 4401)
        assert secret not in refusal["detail"]


@pytest.mark.parametrize("role", ["viewer", "operator", "admin"])
def test_a_peoples_key_is_4403(live: Live, role: str) -> None:
    refusal = live.refused(opening(live.new_id()), **bearer(live.key(role=role)))
    assert (refusal["error"], refusal["close"]) == ("forbidden", 4403)


def test_the_superadmins_token_is_4403(live: Live) -> None:
    refusal = live.refused(opening(live.new_id()), **bearer(DEV_TOKEN))
    assert (refusal["error"], refusal["close"]) == ("forbidden", 4403)
    assert not Instance.objects.filter(orchestrator_id=refusal.get("orchestrator_id", "?")).exists()


def test_a_foreign_orchestrator_is_4403_audited_and_names_nobody(live: Live) -> None:
    live.register("orch-of-acme", key=live.key("acme"))
    before = live.row("orch-of-acme")
    refusal = live.refused(opening("orch-of-acme"), **bearer(live.key("globex")))
    assert (refusal["type"], refusal["error"], refusal["close"]) == ("handshake_ack", "forbidden", 4403)
    assert "acme" not in refusal["detail"].lower()
    entry = AuditEntry.objects.get(action="session.refused", target_id="orch-of-acme")
    assert entry.organization_id == "globex"
    after = live.row("orch-of-acme")
    assert (after.epoch, after.session_id, after.is_connected) == (before.epoch, before.session_id, True)


def test_another_organization_id_than_the_keys_is_4403_known_or_not(live: Live) -> None:
    live.organization("globex")
    answers = [
        live.refused(opening(live.new_id(), organization_id=name), **bearer(live.key("acme")))
        for name in ("globex", "nobody")
    ]
    assert [(answer["error"], answer["close"]) for answer in answers] == [("forbidden", 4403)] * 2
    assert answers[0] == answers[1]


def test_a_known_foreign_id_is_answered_like_a_reserved_one_of_the_same_key(live: Live) -> None:
    live.register("orch-secret", key=live.key("acme"))
    bound = live.key("globex", orchestrator_id="orch-bound-1")
    known = live.refused(opening("orch-secret"), **bearer(bound))
    unknown = live.refused(opening("orch-nowhere"), **bearer(bound))
    assert known == unknown


def test_a_bound_key_opens_its_own_orchestrator_only_and_creates_none(live: Live) -> None:
    bound = live.key(orchestrator_id="orch-bound")
    refusal = live.refused(opening("orch-bound"), **bearer(bound))
    assert (refusal["error"], refusal["close"]) == ("unknown_orchestrator", 4403)
    instances.create("orch-bound", organization=live.organization(), acting_user=None)
    assert live.register("orch-bound", key=bound).ack["orchestrator_id"] == "orch-bound"
    refusal = live.refused(opening("orch-bound-too"), **bearer(bound))
    assert (refusal["error"], refusal["close"]) == ("forbidden", 4403)
    assert not Instance.objects.filter(orchestrator_id="orch-bound-too").exists()


def test_an_unknown_id_of_the_keys_own_organization_is_created(live: Live) -> None:
    live.register("orch-new", key=live.key("globex"))
    assert live.row("orch-new").organization_id == "globex"


def test_a_deleted_instance_stays_blocked_until_it_is_made_anew(live: Live) -> None:
    key = live.key()
    live.register("orch-blocked", key=key).close()
    instances.delete(live.row("orch-blocked"), acting_user=None)
    refusal = live.refused(opening("orch-blocked"), **bearer(key))
    assert (refusal["error"], refusal["close"]) == ("unknown_orchestrator", 4403)
    instances.create("orch-blocked", organization=live.organization(), acting_user=None)
    assert live.register("orch-blocked", key=key).ack["success"] is True


# --- the credential dies while the session lives --------------------------------------------------------------------


def test_a_revoked_key_ends_its_sessions_within_five_seconds_and_no_others(live: Live) -> None:
    row, key = live.key_row()
    victim, bystander = live.register(key=key), live.register()
    started = time.monotonic()
    keys.revoke(row, acting_user=None)
    frames, code = victim.ending(5)
    assert (frames[-1]["error"], frames[-1]["fatal"], code) == ("unauthenticated", True, 4401)
    assert time.monotonic() - started < 5
    assert bystander.is_open()
    assert live.refused(opening(live.new_id()), **bearer(key))["close"] == 4401


def test_a_key_that_expires_is_announced_and_then_ends_the_session(live: Live) -> None:
    expires_at = datetime.now(UTC) + timedelta(seconds=4)
    dying = live.register(key=live.key(expires_at=expires_at))
    later = live.register(key=live.key(expires_at=datetime.now(UTC) + timedelta(seconds=90)))
    warning = dying.take("credential_expiring", 3)
    assert abs(datetime.fromisoformat(warning["expires_at"]) - expires_at) < timedelta(milliseconds=1)
    assert dying.is_open()
    frames, code = dying.ending(6)
    assert (frames[-1]["error"], code) == ("unauthenticated", 4401)
    assert -0.1 < (datetime.now(UTC) - expires_at).total_seconds() < 3
    assert "credential_expiring" not in [frame["type"] for frame in frames]  # once
    assert later.is_open()
    assert "credential_expiring" not in [frame["type"] for frame in later.seen]


def test_a_suspended_organization_is_4403_for_open_and_new_sessions(live: Live) -> None:
    key = live.key("hooli")
    victim, bystander = live.register(key=key), live.register(key=live.key("acme"))
    row = organizations.update(live.organization("hooli"), acting_user=None, status="suspended")
    frames, code = victim.ending(5)
    assert (frames[-1]["error"], code) == ("organization_suspended", 4403)
    refusal = live.refused(opening(live.new_id()), **bearer(key))
    assert (refusal["type"], refusal["error"], refusal["close"]) == ("handshake_ack", "organization_suspended", 4403)
    assert bystander.is_open()
    organizations.update(row, acting_user=None, status="active")
    assert live.register(key=key).ack["success"] is True


def test_a_session_of_a_revoked_key_cannot_be_kept_by_ignoring_the_close(live: Live) -> None:
    from orchestrators.tests.raw import RawPeer

    row, key = live.key_row()
    with RawPeer(live.server.port) as stubborn:
        stubborn.register("orch-stubborn", key)
        keys.revoke(row, acting_user=None)
        assert stubborn.ending()[1] == 4401
        stubborn.send({"type": "recommendation", "message_id": "late", "content": {}})
        stubborn.send({"type": "i_am_alive", "seq": 1})
        assert eventually(lambda: not live.row("orch-stubborn").is_connected, 12)
    assert not live.row("orch-stubborn").messages.exists()


# --- without a credential -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lenient(live: Live) -> ServerProcess:
    return live.installation.serve(env={"ALLOW_ANONYMOUS_REGISTRATION": "true", "DEFAULT_ORGANIZATION_ID": "org-001"})


def anonymous(live: Live, server: ServerProcess, orchestrator_id: str, **fields: Any) -> dict[str, Any]:
    return live.peer(server=server).ask(opening(orchestrator_id, **fields), "handshake_ack")


def test_anonymous_registration_finds_its_organization_in_three_steps(live: Live, lenient: ServerProcess) -> None:
    live.organization("org-001")
    live.organization("initech")
    instances.create("anon-known", organization=live.organization("initech"), acting_user=None)
    asked = {
        "anon-known": {"organization_id": "org-001"},
        "anon-named": {"organization_id": "initech"},
        "anon-lost": {"organization_id": "nobody"},
        "anon-plain": {},
    }
    homes = {name: anonymous(live, lenient, name, **fields)["organization_id"] for name, fields in asked.items()}
    assert homes == {"anon-known": "initech", "anon-named": "initech", "anon-lost": "org-001", "anon-plain": "org-001"}


def test_anonymous_registration_never_takes_over_what_has_a_credential(live: Live, lenient: ServerProcess) -> None:
    live.organization("org-001")
    owner = live.register("anon-owned", key=live.key(), server=lenient)
    live.key(orchestrator_id="anon-bound")
    instances.create("anon-bound", organization=live.organization(), acting_user=None)
    for name in ("anon-owned", "anon-bound"):
        refusal = live.refused(opening(name), server=lenient)
        assert (refusal["type"], refusal["error"], refusal["close"]) == ("handshake_ack", "forbidden", 4403)
    assert owner.is_open()
    assert live.refused(opening("anon-new", token="mk_wrong"), server=lenient)["close"] == 4401


def test_anonymous_sessions_may_replace_each_other(live: Live, lenient: ServerProcess) -> None:
    live.organization("org-001")
    first = live.peer(server=lenient)
    assert first.ask(opening("anon-twice"), "handshake_ack")["success"] is True
    assert anonymous(live, lenient, "anon-twice")["epoch"] == 2
    assert first.ending()[1] == 4409
