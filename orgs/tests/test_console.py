"""The console as a whole: each page opens, for superadmins only; organizations and events."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from orgs import audit, events, keys
from orgs.models import AuditEntry, Event, Membership, Organization, Role, User
from orgs.tests.desk import PASSWORD, one_audit_row

pytestmark = pytest.mark.django_db


PAGES = (
    "orgs_organization orgs_apikey orgs_user orgs_membership orgs_auditentry orgs_event orchestrators_instance "
    "orchestrators_message orchestrators_node monitoring_systemmetric django_celery_beat_periodictask"
).split()
ADDABLE = "orchestrators_message orgs_organization orgs_apikey orgs_user orgs_membership orchestrators_instance".split()


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


def test_every_page_of_one_row_opens(console: Client, acme: Organization, root: User) -> None:
    key, _ = keys.create(acme, name="k", acting_user=None, role="viewer")
    member = Membership.objects.create(user=root, organization=acme, role=Role.VIEWER)
    rows = {
        "orgs_organization": acme.pk,
        "orgs_apikey": key.pk,
        "orgs_user": root.pk,
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


def test_a_wrong_password_leaves_the_username_in_its_field(client: Client, root: User) -> None:
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
    assert client.get(reverse("console_open_alerts")).status_code == 403
    assert client.get(reverse("admin:orgs_event_recent")).status_code == 403
    assert client.get(reverse("admin:monitoring_systemmetric_series")).status_code == 403


def test_a_stranger_is_sent_to_sign_in(client: Client) -> None:
    answer = client.get("/admin/orgs/apikey/")
    assert answer.status_code == 302
    assert answer["Location"].startswith("/admin/login/")


def test_signing_in_leads_to_the_dashboard(client: Client, root: User) -> None:
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
    assert "organization.updated" in Event.objects.order_by("-id").values_list("kind", flat=True)[:3]


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
    with django_assert_num_queries(7):
        assert console.get(url).status_code == 200
    fill(190, 10)
    with django_assert_num_queries(7):
        assert console.get(url).status_code == 200


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
