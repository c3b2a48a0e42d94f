"""Ways around the matrix: what died or moved, names that two organizations share, and what is kept under a caller."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.utils import timezone

from orchestrators import instances
from orgs import tokens
from orgs.models import ApiKey, IdempotencyKey, Membership, Organization, User
from tests.matrix import probes, stage
from tests.matrix.stage import CANARY, Stage

pytestmark = [pytest.mark.once("postgres"), pytest.mark.django_db]
FLEET, LIVE = "/api/v1/controller/orchestrators", "/api/v1/controller/orchestrators/live"


@pytest.fixture(scope="module")
def world_stage(django_db_setup: None, django_db_blocker: Any) -> Iterator[Stage]:
    with stage.built(django_db_blocker) as found:
        yield found


def homes(answer: Any) -> set[str]:
    assert answer.status_code == 200, answer.content
    return {row["organization_id"] for row in json.loads(answer.content)["data"]["items"]}


@pytest.mark.parametrize(("field", "value"), [("status", "suspended"), ("is_active", False)])
def test_a_closed_organization_locks_out_its_keys_and_its_people(world_stage: Stage, field: str, value: Any) -> None:
    Organization.objects.filter(pk="org-a").update(**{field: value})
    for role in ("MV", "AA", "OA", "OU"):
        assert world_stage.caller(role).call("GET", FLEET).status_code == 403
    for kind in ("jwt", "session"):
        assert world_stage.caller("AA", kind).call("GET", FLEET).status_code == 403
    assert homes(world_stage.caller("AB").call("GET", FLEET)) == {world_stage.b.organization}


def test_a_deleted_organizations_keys_and_people_die_with_it(world_stage: Stage) -> None:
    probes.erase(world_stage.b)
    assert not ApiKey.objects.filter(organization_id=world_stage.b.organization).exists()
    for role in ("MB", "AB", "OB"):
        assert world_stage.caller(role).call("GET", FLEET).status_code == 403
    for kind, status in (("jwt", 403), ("session", 401)):
        assert world_stage.caller("AB", kind).call("GET", FLEET).status_code == status


@pytest.mark.parametrize("kind", ["jwt", "session"])
def test_a_member_moved_to_another_organization_sees_that_one_with_the_old_sign_in(
    world_stage: Stage, kind: str
) -> None:
    mover = world_stage.caller("AA", kind)
    assert homes(mover.call("GET", FLEET)) == {"org-a"}
    Membership.objects.filter(user=mover.user).update(organization=world_stage.b.organization, role="viewer")
    assert homes(mover.call("GET", FLEET)) == {world_stage.b.organization}
    assert mover.call("GET", f"{FLEET}/{world_stage.a.orchestrator}").status_code == 404
    path = f"/api/v1/internal/orchestrators/{world_stage.b.orchestrator}/independence"
    assert mover.call("PUT", path, {"is_independent": True}).status_code == 403


def test_a_role_that_sinks_counts_from_the_next_call(world_stage: Stage) -> None:
    admin = world_stage.caller("AA", "jwt")
    Membership.objects.filter(user=admin.user).update(role="viewer")
    path = "/api/v1/internal/organizations/org-a/independence"
    assert admin.call("PUT", path, {"is_independent": True}).status_code == 403


def test_a_person_of_two_organizations_sees_both_and_chooses_by_the_header(world_stage: Stage) -> None:
    user = User.objects.create_user("both")
    for home in ("org-a", world_stage.b.organization):
        Membership.objects.create(user=user, organization_id=home, role="viewer")
    bearer = {"Authorization": f"Bearer {tokens.sign_in(user, now=timezone.now()).access_token}"}
    client = world_stage.caller("AN").client
    assert homes(client.get(FLEET, headers=bearer)) == {"org-a", world_stage.b.organization}
    assert homes(client.get(FLEET, headers=bearer | {"X-Organization-Id": "org-a"})) == {"org-a"}
    missing = client.get(FLEET, headers=bearer | {"X-Organization-Id": "nowhere"})
    assert missing.status_code == 404


def test_two_orchestrators_of_one_name_stay_apart(world_stage: Stage) -> None:
    for number, home in enumerate(("org-a", world_stage.b.organization)):
        organization = Organization.objects.get(pk=home)
        instances.create(f"twin-{number}", organization=organization, acting_user=None, name="Twin")
    found = world_stage.caller("MV").call("GET", f"{FLEET}?search=Twin")
    assert [row["orchestrator_id"] for row in json.loads(found.content)["data"]["items"]] == ["twin-0"]
    assert json.loads(found.content)["data"]["total_items"] == 1


def test_an_idempotency_key_is_its_callers_own(world_stage: Stage) -> None:
    key = {"Idempotency-Key": "the-same"}
    body = {"name": CANARY, "role": "viewer"}
    theirs = world_stage.caller("AB").call(
        "POST", f"/api/v1/orchestrators/{world_stage.b.organization}/api-keys", body, **key
    )
    assert theirs.status_code == 201
    ours = world_stage.caller("AA").call("POST", "/api/v1/orchestrators/org-a/api-keys", body | {"name": "ci"}, **key)
    assert ours.status_code == 201
    assert not probes.says_canary(ours)
    assert "Idempotency-Replayed" not in ours
    assert IdempotencyKey.objects.filter(key="the-same").count() == 2
    foreign = world_stage.caller("AA").call(
        "POST", f"/api/v1/orchestrators/{world_stage.b.organization}/api-keys", body
    )
    assert foreign.status_code == 404


def test_one_callers_calls_count_against_no_other(world_stage: Stage, settings: Any) -> None:
    settings.RATE_LIMITS = {**settings.RATE_LIMITS, "API": "3/minute"}
    noisy = world_stage.caller("AB")
    assert 429 in [noisy.call("GET", LIVE).status_code for _ in range(5)]
    for role in ("AA", "MB"):
        answer = world_stage.caller(role).call("GET", LIVE)
        assert (answer.status_code, answer["X-RateLimit-Remaining"]) == (200, "2")


def test_no_answer_to_a_caller_may_be_kept_for_another(world_stage: Stage) -> None:
    for path in (FLEET, LIVE, "/api/v1/internal/messages"):
        answer = world_stage.caller("AA").call("GET", path)
        assert "ETag" not in answer
        assert "public" not in answer.get("Cache-Control", "")


@pytest.mark.parametrize("role", ["AN", "MV", "AA", "AB"])
def test_the_consoles_search_tells_nobody_but_superadmins_anything(world_stage: Stage, role: str) -> None:
    client = world_stage.caller("AA", "session").client if role == "AA" else world_stage.caller("AN").client
    if role in ("MV", "AB"):
        client = world_stage.caller(role, "session").client
    for path in (
        f"/admin/autocomplete/?app_label=orgs&model_name=membership&field_name=organization&term={CANARY}",
        f"/admin/orgs/organization/?q={CANARY}",
        f"/admin/search/?s={CANARY}",
        "/admin/orgs/auditentry/export/",
    ):
        answer = client.get(path)
        assert answer.status_code in (302, 403, 404)
        assert f"{CANARY} Corporation".encode() not in answer.content
