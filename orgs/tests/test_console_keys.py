"""The console's API keys: a secret is shown once, a rotation leaves one row, a revocation is asked about first."""

import html
import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from orgs import keys
from orgs.models import ApiKey, AuditEntry, Event, Organization
from orgs.tests.desk import forget, one_audit_row, said

pytestmark = pytest.mark.django_db
LIST = "/admin/orgs/apikey/"


@pytest.fixture
def key(acme: Organization) -> ApiKey:
    row, _ = keys.create(acme, name="k", acting_user=None, role="viewer")
    forget()
    return row


def page_of(row: ApiKey, *, door: str = "change") -> str:
    return reverse(f"admin:orgs_apikey_{door}", args=[row.pk])


def secret_on(page: str) -> str:
    return page.split('id="secret">')[1].split("<", 1)[0]


def new_key(console: Client, **changed: Any) -> Any:
    form = {"organization": "acme", "name": "edge", "kind": "orchestrator", "orchestrator_id": "", **changed}
    form = {"expires_at_0": "", "expires_at_1": "", **form}
    return console.post(reverse("admin:orgs_apikey_add"), form)


def test_a_new_keys_secret_is_shown_once_and_stored_nowhere(console: Client, acme: Organization) -> None:
    answer = new_key(console, orchestrator_id="orch-001")
    row = ApiKey.objects.get()
    page = answer.content.decode()
    secret = secret_on(page)
    assert keys.digest(secret) == row.secret_hash
    assert (row.scopes, row.role, row.orchestrator_id) == (["orchestrator"], "", "orch-001")
    assert "no-store" in answer["Cache-Control"]
    assert secret not in str(answer.cookies)
    assert secret not in console.get(reverse("admin:orgs_apikey_change", args=[row.pk])).content.decode()
    trail = one_audit_row()
    assert trail.action == "api_key.create"
    assert secret not in f"{trail.before}{trail.after}"


@pytest.mark.parametrize(("bound", "shown"), [("orch-001", "orch-001"), ("", "acme-1")])
def test_a_new_keys_page_shows_a_command_that_works(
    console: Client, acme: Organization, bound: str, shown: str
) -> None:
    page = new_key(console, orchestrator_id=bound).content.decode()
    secret = secret_on(page)
    command = f".venv/bin/python manage.py orchestrator --id {shown} --url ws://testserver/ws"
    assert f"export MOOLAI_API_KEY={secret}\n{command}</pre>" in page


def test_a_form_sent_again_makes_no_second_key(console: Client, acme: Organization) -> None:
    page = console.get(reverse("admin:orgs_apikey_add")).content.decode()
    field = re.search(r'<input type="hidden" name="new_id" value="(key_[0-9a-f]{16})"', page)
    assert field
    first = new_key(console, new_id=field[1])
    again = new_key(console, new_id=field[1])
    row = ApiKey.objects.get()
    assert row.key_id == field[1]
    assert again["Location"] == page_of(row)
    assert secret_on(first.content.decode()) not in again.content.decode()
    assert said(again) == "This key is made already; its secret was shown once."


def test_two_forms_make_two_keys(console: Client, acme: Organization) -> None:
    for _ in range(2):
        new_key(console, new_id=keys.new_id())
    assert ApiKey.objects.count() == 2


def test_a_key_may_have_a_role(console: Client, acme: Organization) -> None:
    assert new_key(console, kind="operator").status_code == 200
    assert ApiKey.objects.get().role == "operator"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"kind": "operator", "orchestrator_id": "orch-001"}, "can be bound"),
        ({"orchestrator_id": "no spaces"}, "letters, digits"),
        ({"expires_at_0": "2001-01-01", "expires_at_1": "00:00:00"}, "has passed already"),
        ({"name": ""}, "required"),
        ({"organization": "nobody"}, "valid choice"),
    ],
)
def test_a_useless_key_is_refused_beside_its_field(
    console: Client, acme: Organization, changed: dict[str, str], words: str
) -> None:
    answer = new_key(console, **changed)
    assert words in answer.content.decode()
    assert not ApiKey.objects.exists()


def test_a_rotation_shows_the_new_secret_once_and_leaves_one_row(console: Client, key: ApiKey) -> None:
    answer = console.post(page_of(key, door="rotate"), {"grace_seconds": "3600", "seen": ""})
    assert answer.status_code == 200
    assert "no-store" in answer["Cache-Control"]
    secret = secret_on(answer.content.decode())
    successor = ApiKey.objects.exclude(pk=key.pk).get()
    assert keys.digest(secret) == successor.secret_hash
    assert "it ends in 1 hour" in answer.content.decode()
    row = one_audit_row()
    assert (row.action, row.target_id) == ("api_key.rotate", key.key_id)
    assert row.after is not None
    assert (row.after["successor"], row.after["grace_seconds"]) == (successor.key_id, 3_600)
    assert secret not in f"{row.before}{row.after}{list(Event.objects.values())}{answer.cookies}"
    key.refresh_from_db()
    assert key.expires_at is not None
    assert timedelta(minutes=59) < key.expires_at - timezone.now() <= timedelta(hours=1)


def test_one_click_rotates_once(console: Client, key: ApiKey) -> None:
    form = {"grace_seconds": "3600", "seen": ""}
    assert console.post(page_of(key, door="rotate"), form).status_code == 200
    again = console.post(page_of(key, door="rotate"), form)
    assert (again.status_code, again["Location"]) == (302, page_of(key))
    assert "has changed since" in said(again)
    assert ApiKey.objects.count() == 2
    assert AuditEntry.objects.count() == 1


@pytest.mark.parametrize("grace", ["", "-1", "60", "soon"])
def test_a_grace_that_is_not_offered_rotates_nothing(console: Client, key: ApiKey, grace: str) -> None:
    answer = console.post(page_of(key, door="rotate"), {"grace_seconds": grace})
    assert "Choose when" in said(answer)
    assert ApiKey.objects.count() == 1
    assert not AuditEntry.objects.exists()


def test_an_ended_key_offers_no_rotation_and_refuses_one(console: Client, key: ApiKey) -> None:
    keys.revoke(key, acting_user=None)
    forget()
    assert "Rotate" not in console.get(page_of(key)).content.decode()
    assert "make a new one" in said(console.post(page_of(key, door="rotate"), {"grace_seconds": "0"}))
    assert ApiKey.objects.count() == 1
    assert not AuditEntry.objects.exists()


def test_a_look_rotates_nothing(console: Client, key: ApiKey) -> None:
    assert console.get(page_of(key, door="rotate")).status_code == 405
    assert ApiKey.objects.count() == 1


def test_a_key_is_revoked_once_and_after_a_question(console: Client, key: ApiKey) -> None:
    url = page_of(key, door="revoke")
    asked = console.get(url).content.decode()
    assert "Revoke k?" in asked
    assert "within 5 seconds" in asked
    assert not AuditEntry.objects.exists()
    for _ in range(2):
        assert console.post(url, {"post": "yes"}).status_code == 302
    key.refresh_from_db()
    assert not key.is_usable(now=timezone.now())
    assert one_audit_row().action == "api_key.revoke"


def test_a_missing_key_is_a_404_for_every_door(console: Client) -> None:
    assert console.post("/admin/orgs/apikey/999/revoke/").status_code == 404
    assert "has changed" in said(console.post("/admin/orgs/apikey/999/rotate/", {"grace_seconds": "0"}))


def test_several_keys_are_revoked_by_the_lists_action_after_a_question(console: Client, acme: Organization) -> None:
    rows = [keys.create(acme, name=f"k{number}", acting_user=None, role="viewer")[0] for number in range(3)]
    forget()
    form: dict[str, Any] = {"action": "revoke_chosen", "_selected_action": [row.pk for row in rows[:2]]}
    asked = console.post(LIST, form).content.decode()
    assert "Revoke 2 keys?" in asked
    assert all(f'name="_selected_action" value="{row.pk}"' in asked for row in rows[:2])
    assert not AuditEntry.objects.exists()
    assert console.post(LIST, {**form, "post": "yes"}).status_code == 302
    assert AuditEntry.objects.filter(action="api_key.revoke", actor="root").count() == 2
    assert ApiKey.objects.filter(revoked_at__isnull=True).count() == 1
    assert "Nothing to revoke" in console.post(LIST, form).content.decode()


@pytest.mark.parametrize(
    ("state", "hours", "words"),
    [("active", None, "Active"), ("active", 24 * 30, "Active"), ("expiring", 3.01, "Expiring in 3 hours"),
     ("expired", -1, "Expired"), ("revoked", None, "Revoked")],
)  # fmt: skip
def test_each_state_has_its_badge_and_its_filter(
    console: Client, key: ApiKey, state: str, hours: float | None, words: str
) -> None:
    now = timezone.now()
    end = None if hours is None else now + timedelta(hours=hours)
    ApiKey.objects.update(expires_at=end, revoked_at=now if state == "revoked" else None)
    assert f"</i> {words}</span>" in console.get(page_of(key)).content.decode()
    for chosen in ("active", "expiring", "expired", "revoked"):
        listed = console.get(f"{LIST}?state={chosen}").content.decode()
        assert (page_of(key) in listed) == (chosen == state), chosen
    assert f"</i> {words}</span>" in console.get(LIST).content.decode()


@pytest.mark.parametrize("kind", ["viewer", "orchestrator"])
def test_the_curl_example_works(console: Client, acme: Organization, kind: str) -> None:
    page = new_key(console, kind=kind).content.decode()
    example = html.unescape(page.split('id="curl">')[1].split("</pre>")[0])
    url = re.search(r"curl (\S+)", example)
    body = re.search(r"-d '(.+)'", example)
    assert url
    headers = {"Authorization": f"Bearer {secret_on(page)}"}
    if body:
        answer = Client().post(url[1], body[1], content_type="application/json", headers=headers)
    else:
        answer = Client().get(url[1], headers=headers)
    assert answer.status_code in (200, 201), answer.content
    assert url[1].startswith("http://testserver/")


def test_an_empty_list_says_what_to_do(console: Client) -> None:
    text = console.get(LIST).content.decode()
    assert "No API keys yet" in text
    assert reverse("admin:orgs_apikey_add") in text
