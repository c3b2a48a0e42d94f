"""The console's pages of organizations, people, keys and the trail: each opens, each write leaves one audit row."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from orgs import audit, events, keys, organizations
from orgs.models import ApiKey, AuditEntry, Event, Membership, Organization, Role, User

pytestmark = pytest.mark.django_db
PASSWORD = "correct horse battery staple"


@pytest.fixture
def admin_user() -> User:
    return User.objects.create_superuser("root", password=PASSWORD)


@pytest.fixture
def console(client: Client, admin_user: User) -> Client:
    client.force_login(admin_user)
    return client


@pytest.fixture
def acme() -> Organization:
    organization = organizations.create("acme", name="Acme", acting_user=None)
    AuditEntry.objects.all().delete()
    return organization


def one_audit_row() -> AuditEntry:
    assert AuditEntry.objects.count() == 1
    row = AuditEntry.objects.get()
    assert row.actor == "root"
    assert row.remote_address == "127.0.0.1"
    return row


PAGES = (
    "orgs_organization orgs_apikey orgs_user orgs_membership orgs_auditentry orgs_event orchestrators_instance "
    "orchestrators_message orchestrators_node monitoring_systemmetric django_celery_beat_periodictask"
).split()
ADDABLE = "orgs_organization orgs_apikey orgs_user orgs_membership orchestrators_instance".split()


@pytest.mark.parametrize("page", PAGES)
def test_every_list_opens_empty_and_filled(console: Client, acme: Organization, page: str) -> None:
    assert console.get(reverse(f"admin:{page}_changelist")).status_code == 200
    keys.create(acme, name="k", acting_user=None, role="viewer")
    assert console.get(reverse(f"admin:{page}_changelist") + "?q=acme").status_code == 200


@pytest.mark.parametrize("page", ADDABLE)
def test_every_add_page_opens(console: Client, page: str) -> None:
    assert console.get(reverse(f"admin:{page}_add")).status_code == 200


@pytest.mark.parametrize("page", sorted(set(PAGES) - set(ADDABLE)))
def test_what_is_only_to_look_at_has_no_add_page(console: Client, page: str) -> None:
    assert console.get(reverse(f"admin:{page}_add")).status_code == 403


def test_every_page_of_one_row_opens(console: Client, acme: Organization, admin_user: User) -> None:
    key, _ = keys.create(acme, name="k", acting_user=None, role="viewer")
    member = Membership.objects.create(user=admin_user, organization=acme, role=Role.VIEWER)
    rows = {
        "orgs_organization": acme.pk,
        "orgs_apikey": key.pk,
        "orgs_user": admin_user.pk,
        "orgs_membership": member.pk,
        "orgs_auditentry": AuditEntry.objects.latest("id").pk,
        "orgs_event": Event.objects.latest("id").pk,
    }
    for page, pk in rows.items():
        assert console.get(reverse(f"admin:{page}_change", args=[pk])).status_code == 200, page


def test_the_front_page_counts_and_tells_what_to_do_first(console: Client) -> None:
    answer = console.get("/admin/")
    assert answer.status_code == 200
    assert "Connect the first orchestrator" in answer.content.decode()
    assert "manage.py orchestrator --id orch-001 --url ws://testserver/ws" in answer.content.decode()


@pytest.mark.parametrize("is_staff", [True, False])
def test_everybody_else_reads_the_same_sentence(client: Client, is_staff: bool) -> None:
    User.objects.create_user("bob", password=PASSWORD, is_staff=is_staff)
    page = client.post("/admin/login/", {"username": "bob", "password": PASSWORD}).content.decode()
    assert "Only superadmins may use the console." in page


def test_a_wrong_password_leaves_the_username_in_its_field(client: Client, admin_user: User) -> None:
    page = client.post("/admin/login/", {"username": "root", "password": "wrong"}).content.decode()
    assert 'value="root"' in page


def test_the_console_is_for_superadmins(client: Client, acme: Organization) -> None:
    staff = User.objects.create_user("staff", password=PASSWORD, is_staff=True)
    Membership.objects.create(user=staff, organization=acme, role=Role.ADMIN)
    answer = client.post("/admin/login/", {"username": "staff", "password": PASSWORD})
    assert answer.status_code == 200
    assert "Only superadmins" in answer.content.decode()
    client.force_login(staff)
    for page in PAGES:
        assert client.get(reverse(f"admin:{page}_changelist")).status_code == 403, page
    assert client.get("/admin/").status_code == 403
    assert client.get(reverse("console_fleet_table")).status_code == 403
    assert client.get(reverse("admin:orgs_event_recent")).status_code == 403
    assert client.get(reverse("admin:monitoring_systemmetric_series")).status_code == 403


def test_a_stranger_is_sent_to_sign_in(client: Client) -> None:
    answer = client.get("/admin/orgs/apikey/")
    assert answer.status_code == 302
    assert answer["Location"].startswith("/admin/login/")


def test_signing_in_leads_to_the_dashboard(client: Client, admin_user: User) -> None:
    page = client.get("/admin/login/").content.decode()
    assert 'name="next" value="/admin/"' in page
    answer = client.post("/admin/login/", {"username": "root", "password": PASSWORD, "next": "/admin/"})
    assert answer["Location"] == "/admin/"


# --- organizations --------------------------------------------------------------------------------------------------


def organization_form(**changed: Any) -> dict[str, Any]:
    form = {"name": "Acme", "status": "active", "is_active": "on", "settings": "{}"}
    return {key: value for key, value in {**form, **changed}.items() if value is not None}


def test_adding_an_organization_is_audited_once(console: Client) -> None:
    form = organization_form(organization_id="globex", name="Globex")
    answer = console.post(reverse("admin:orgs_organization_add"), form)
    assert answer.status_code == 302
    assert Organization.objects.get(pk="globex").name == "Globex"
    row = one_audit_row()
    assert (row.action, row.target_id) == ("organization.create", "globex")


def test_changing_an_organization_is_audited_with_before_and_after(console: Client, acme: Organization) -> None:
    form = organization_form(name="Acme Robotics", settings='{"config": {"llm": {"model": "m"}}}')
    assert console.post(reverse("admin:orgs_organization_change", args=["acme"]), form).status_code == 302
    row = one_audit_row()
    assert row.before == {"name": "Acme", "settings": {}}
    assert row.after == {"name": "Acme Robotics", "settings": {"config": {"llm": {"model": "m"}}}}
    assert Event.objects.latest("id").kind == "organization.updated"


def test_saving_without_a_change_writes_nothing(console: Client, acme: Organization) -> None:
    assert (
        console.post(reverse("admin:orgs_organization_change", args=["acme"]), organization_form()).status_code == 302
    )
    assert not AuditEntry.objects.exists()


@pytest.mark.parametrize("change", [{"status": "suspended"}, {"is_active": None}])
def test_closing_an_organization_says_so_in_an_event(
    console: Client, acme: Organization, change: dict[str, Any]
) -> None:
    console.post(reverse("admin:orgs_organization_change", args=["acme"]), organization_form(**change))
    acme.refresh_from_db()
    assert not acme.is_open
    assert Event.objects.latest("id").kind == "organization.suspended"


def test_bad_json_is_explained_beside_its_field(console: Client, acme: Organization) -> None:
    answer = console.post(
        reverse("admin:orgs_organization_change", args=["acme"]), organization_form(settings='{"a": }')
    )
    assert answer.status_code == 200
    assert "line 1, column 7" in answer.content.decode()
    assert not AuditEntry.objects.exists()


def test_an_organization_cannot_be_deleted(console: Client, acme: Organization) -> None:
    assert console.post(reverse("admin:orgs_organization_delete", args=["acme"]), {"post": "yes"}).status_code == 403


def test_the_list_of_organizations_asks_as_much_for_200_as_for_10(
    console: Client, django_assert_num_queries: Callable[..., Any]
) -> None:
    def fill(count: int, start: int) -> None:
        Organization.objects.bulk_create(
            Organization(organization_id=f"o{number:03}", name=f"O {number}") for number in range(start, start + count)
        )

    fill(10, 0)
    url = reverse("admin:orgs_organization_changelist")
    with django_assert_num_queries(5):
        assert console.get(url).status_code == 200
    fill(190, 10)
    with django_assert_num_queries(5):
        assert console.get(url).status_code == 200


# --- keys -----------------------------------------------------------------------------------------------------------


def new_key(console: Client, **changed: Any) -> Any:
    form = {"organization": "acme", "name": "edge", "kind": "orchestrator", "orchestrator_id": "", **changed}
    form = {"expires_at_0": "", "expires_at_1": "", **form}
    return console.post(reverse("admin:orgs_apikey_add"), form)


def test_a_new_keys_secret_is_shown_once_and_stored_nowhere(console: Client, acme: Organization) -> None:
    answer = new_key(console, orchestrator_id="orch-001")
    row = ApiKey.objects.get()
    page = answer.content.decode()
    secret = page.split('id="secret">')[1].split("<")[0]
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
    secret = page.split('id="secret">')[1].split("<")[0]
    command = f".venv/bin/python manage.py orchestrator --id {shown} --url ws://testserver/ws"
    assert f"export MOOLAI_API_KEY={secret}\n{command}</pre>" in page


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


def test_a_key_is_revoked_once(console: Client, acme: Organization) -> None:
    row, _ = keys.create(acme, name="k", acting_user=None, role="viewer")
    AuditEntry.objects.all().delete()
    url = reverse("admin:orgs_apikey_revoke", args=[row.pk])
    assert console.get(url).status_code == 405
    for _ in range(2):
        assert console.post(url).status_code == 302
    row.refresh_from_db()
    assert not row.is_usable(now=timezone.now())
    assert one_audit_row().action == "api_key.revoke"
    assert "Revoked" in console.get(reverse("admin:orgs_apikey_changelist")).content.decode()


def test_several_keys_are_revoked_by_the_lists_action(console: Client, acme: Organization) -> None:
    rows = [keys.create(acme, name=f"k{number}", acting_user=None, role="viewer")[0] for number in range(3)]
    AuditEntry.objects.all().delete()
    form = {"action": "revoke_chosen", "_selected_action": [row.pk for row in rows[:2]]}
    assert console.post(reverse("admin:orgs_apikey_changelist"), form).status_code == 302
    assert AuditEntry.objects.filter(action="api_key.revoke", actor="root").count() == 2
    assert ApiKey.objects.filter(revoked_at__isnull=True).count() == 1


# --- people ---------------------------------------------------------------------------------------------------------


def test_a_new_user_is_audited_without_the_password(console: Client) -> None:
    form = {"username": "bob", "password1": PASSWORD, "password2": PASSWORD}
    assert console.post(reverse("admin:orgs_user_add"), form).status_code == 302
    assert User.objects.get(username="bob").check_password(PASSWORD)
    row = one_audit_row()
    assert (row.action, row.target_id, row.before) == ("user.create", "bob", None)
    assert "password" not in str(row.after)


def test_changing_and_deleting_a_user_is_audited(console: Client) -> None:
    bob = User.objects.create_user("bob", password=PASSWORD)
    form = {"username": "bob", "email": "bob@example.com", "is_active": "on", "is_superuser": "on"}
    assert console.post(reverse("admin:orgs_user_change", args=[bob.pk]), form).status_code == 302
    row = one_audit_row()
    assert row.before == {"email": "", "is_superuser": False}
    assert row.after == {"email": "bob@example.com", "is_superuser": True}
    AuditEntry.objects.all().delete()
    assert console.post(reverse("admin:orgs_user_delete", args=[bob.pk]), {"post": "yes"}).status_code == 302
    row = one_audit_row()
    assert row.action == "user.delete"
    assert bob.password not in str(row.before)


def test_the_pages_of_a_user_show_no_hash_and_no_word_of_other_sign_ins(console: Client, acme: Organization) -> None:
    bob = User.objects.create_user("bob", password=PASSWORD)
    for url in (reverse("admin:orgs_user_add"), reverse("admin:orgs_user_change", args=[bob.pk])):
        text = console.get(url).content.decode()
        for word in ("LDAP", "Single Sign-On", "argon2", "md5", "algorithm", "is_staff"):
            assert word not in text, word
    assert f"{reverse('admin:orgs_membership_add')}?user={bob.pk}" in text


def test_the_console_opens_to_whoever_is_made_superadmin(console: Client, client: Client) -> None:
    bob = User.objects.create_user("bob", password=PASSWORD)
    form = {"username": "bob", "is_active": "on", "is_superuser": "on"}
    assert console.post(reverse("admin:orgs_user_change", args=[bob.pk]), form).status_code == 302
    other = Client()
    assert other.post("/admin/login/", {"username": "bob", "password": PASSWORD}).status_code == 302
    assert other.get("/admin/").status_code == 200


def test_a_password_set_by_an_admin_is_audited_without_it(console: Client) -> None:
    bob = User.objects.create_user("bob", password="another password 1")
    form = {"usable_password": "true", "password1": PASSWORD, "password2": PASSWORD}
    assert console.post(reverse("admin:auth_user_password_change", args=[bob.pk]), form).status_code == 302
    assert User.objects.get(pk=bob.pk).check_password(PASSWORD)
    row = one_audit_row()
    assert (row.action, row.target_id, row.before, row.after) == ("user.password", "bob", None, None)


def test_ones_own_password_change_is_audited(console: Client, admin_user: User) -> None:
    new = "a new password 123"
    form = {"old_password": "wrong", "new_password1": new, "new_password2": new}
    assert console.post("/admin/password_change/", form).status_code == 200
    assert not AuditEntry.objects.exists()
    assert console.post("/admin/password_change/", {**form, "old_password": PASSWORD}).status_code == 302
    assert one_audit_row().action == "user.password"
    assert console.get("/admin/").status_code == 200


def test_memberships_are_audited(console: Client, acme: Organization, admin_user: User) -> None:
    form = {"user": admin_user.pk, "organization": "acme", "role": "operator"}
    assert console.post(reverse("admin:orgs_membership_add"), form).status_code == 302
    row = one_audit_row()
    assert (row.organization_id, row.target_id) == ("acme", "root@acme")
    AuditEntry.objects.all().delete()
    member = Membership.objects.get()
    url = reverse("admin:orgs_membership_change", args=[member.pk])
    assert console.post(url, {**form, "role": "viewer"}).status_code == 302
    assert (one_audit_row().before, one_audit_row().after) == ({"role": "operator"}, {"role": "viewer"})
    AuditEntry.objects.all().delete()
    form = {"action": "delete_selected", "_selected_action": [member.pk], "post": "yes"}
    assert console.post(reverse("admin:orgs_membership_changelist"), form).status_code == 302
    assert one_audit_row().action == "membership.delete"
    assert not Membership.objects.exists()


# --- the trail ------------------------------------------------------------------------------------------------------


def test_the_trail_and_the_events_cannot_be_touched(console: Client, acme: Organization) -> None:
    audit.record("x.y", acting_user=None, organization_id="acme", target=("x", "1"), before={"a": 1}, after={"a": 2})
    row, event = AuditEntry.objects.get(), Event.objects.latest("id")
    for page, pk in (("orgs_auditentry", row.pk), ("orgs_event", event.pk)):
        assert console.post(reverse(f"admin:{page}_change", args=[pk]), {"actor": "me", "kind": "x"}).status_code == 403
        assert console.post(reverse(f"admin:{page}_delete", args=[pk]), {"post": "yes"}).status_code == 403
    listed = console.get(reverse("admin:orgs_auditentry_changelist")).content.decode()
    assert "<b>a</b> 1 → 2" in listed


@pytest.mark.django_db
def test_events_are_told_in_human_words(console: Client) -> None:
    events.record("orchestrator.connected", orchestrator_id="orch-001", data={"remote_address": "127.0.0.1"})
    events.record("independence.changed", orchestrator_id="orch-002", data={"is_independent": True, "actor": "ada"})
    events.record("made.up", orchestrator_id="orch-003")
    page = console.get(reverse("admin:orgs_event_recent")).content.decode()
    assert "orch-001 connected from 127.0.0.1" in page
    assert "orch-002 became independent — ada" in page
    assert "orch-003: made.up" in page
    narrowed = console.get(reverse("admin:orgs_event_recent") + "?orchestrator_id=orch-002&limit=5").content.decode()
    assert "orch-002" in narrowed
    assert "orch-001" not in narrowed


def test_a_passing_state_is_not_told_among_the_newest(console: Client) -> None:
    for kind in ("config.applying", "config.applied"):
        events.record(kind, orchestrator_id="orch-001")
    assert console.get(reverse("admin:orgs_event_recent")).content.decode().count("<li>") == 1


def test_what_somebody_named_is_escaped(console: Client) -> None:
    events.record("message.received", orchestrator_id="orch-001", data={"message_type": "<script>alert(1)</script>"})
    page = console.get(reverse("admin:orgs_event_recent")).content.decode()
    assert "<script>alert" not in page
