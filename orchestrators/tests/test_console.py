"""The console's pages of the fleet: the list, the page of one, its switch, its messages, and what they leave behind."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse

from orchestrators import independence, instances
from orchestrators.admin import badges
from orchestrators.models import Instance, Message
from orgs.models import AuditEntry, Event, Organization, User

pytestmark = pytest.mark.django_db


@pytest.fixture
def orch(acme: Organization) -> Instance:
    instance = instances.create("orch-001", organization=acme, acting_user=None)
    AuditEntry.objects.all().delete()
    Event.objects.all().delete()
    return instance


def page(instance: Instance) -> str:
    return reverse("admin:orchestrators_instance_change", args=[instance.pk])


def form(**changed: Any) -> dict[str, Any]:
    return {"name": "orch-001", "features": "{}", "session_config": "{}", "monitoring_enabled": "on", **changed}


def switch(console: Client, instance: Instance, body: Any) -> Any:
    url = reverse("admin:orchestrators_instance_independence", args=[instance.pk])
    return console.post(url, body if isinstance(body, str) else json.dumps(body), content_type="application/json")


def test_the_page_shows_every_panel(console: Client, orch: Instance) -> None:
    Message.objects.create(orchestrator=orch, message_id="m1", message_type="reload")
    text = console.get(page(orch)).content.decode()
    for words in ("Session", "Configuration", "Health", "Messages", "Events", "reload", "○</i> Inactive", "never"):
        assert words in text
    for secret in ("database_url", "redis_url", "environment_variables"):
        assert secret not in text


@pytest.mark.parametrize("name", ["session", "configuration", "health", "messages"])
def test_each_panel_loads_alone(console: Client, orch: Instance, name: str) -> None:
    url = reverse("admin:orchestrators_instance_panel", args=[orch.pk, name])
    answer = console.get(url)
    assert answer.status_code == 200
    assert "<html" not in answer.content.decode()


def test_an_unknown_panel_or_orchestrator_is_404(console: Client, orch: Instance) -> None:
    assert console.get(reverse("admin:orchestrators_instance_panel", args=[orch.pk, "secrets"])).status_code == 404
    assert console.get(reverse("admin:orchestrators_instance_panel", args=[0, "session"])).status_code == 404


# --- the switch -----------------------------------------------------------------------------------------------------


def test_the_switch_answers_at_once_and_is_audited(console: Client, orch: Instance) -> None:
    answer = switch(console, orch, {"is_independent": True})
    assert answer.json() == {
        "success": True,
        "data": {"name": "orch-001", "is_independent": True, "independence_source": "own", "status": "independent"},
    }
    row = AuditEntry.objects.get()
    assert (row.actor, row.action, row.target_id) == ("root", "orchestrator.independence", "orch-001")
    assert (row.before, row.after) == ({"is_independent": False}, {"is_independent": True})
    assert switch(console, orch, {"is_independent": True}).json()["success"]
    assert AuditEntry.objects.count() == 1


@pytest.mark.parametrize("body", ["", "[]", "{}", '{"is_independent": "yes"}', '{"is_independent": 1}'])
def test_the_switch_refuses_what_it_does_not_understand(console: Client, orch: Instance, body: str) -> None:
    answer = switch(console, orch, body)
    assert answer.status_code == 400
    assert answer.json()["detail"]
    assert not AuditEntry.objects.exists()


def test_the_switch_is_a_post_with_a_token(orch: Instance, console: Client) -> None:
    url = reverse("admin:orchestrators_instance_independence", args=[orch.pk])
    assert console.get(url).status_code == 405
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = console.cookies
    assert strict.post(url, '{"is_independent": true}', content_type="application/json").status_code == 403
    orch.refresh_from_db()
    assert not orch.is_independent


def test_the_switch_of_a_deleted_orchestrator_says_so(console: Client, orch: Instance) -> None:
    instances.delete(orch, acting_user=None)
    answer = switch(console, orch, {"is_independent": True})
    assert (answer.status_code, answer.json()["error"]) == (404, "not_found")


def test_somebody_without_the_console_cannot_switch(client: Client, orch: Instance) -> None:
    client.force_login(User.objects.create_user("staff", is_staff=True))
    assert switch(client, orch, {"is_independent": True}).status_code == 403
    message = reverse("admin:orchestrators_instance_message", args=[orch.pk])
    assert client.post(message, {"message_type": "x", "content": "{}"}).status_code == 403
    assert client.get(reverse("admin:orchestrators_instance_panel", args=[orch.pk, "session"])).status_code in (
        403,
        404,
    )
    organization = reverse("admin:orgs_organization_independence", args=["acme"])
    body = '{"is_independent": true}'
    assert client.post(organization, body, content_type="application/json").status_code == 403
    orch.refresh_from_db()
    assert not orch.is_effectively_independent
    assert not Message.objects.exists()


def test_inherited_independence_says_from_whom_and_locks_the_switch(console: Client, orch: Instance) -> None:
    url = reverse("admin:orgs_organization_independence", args=["acme"])
    answer = console.post(url, '{"is_independent": true}', content_type="application/json")
    assert answer.json() == {"success": True, "data": {"name": "acme", "is_independent": True}}
    assert AuditEntry.objects.get().action == "organization.independence"
    for text in (
        console.get(reverse("admin:orchestrators_instance_changelist")).content.decode(),
        console.get(page(orch)).content.decode(),
    ):
        assert "◆</i> Independent" in text
        assert "inherited from acme" in text
        assert 'aria-checked="true" aria-disabled="true"' in text


# --- changing -------------------------------------------------------------------------------------------------------


def test_saving_pushes_the_configuration_and_leaves_one_audit_row(console: Client, orch: Instance) -> None:
    answer = console.post(page(orch), form(features='{"cache": true}', privacy_mode="on"))
    assert answer.status_code == 302
    before, orch = orch, Instance.objects.get(pk=orch.pk)
    assert (orch.features, orch.privacy_mode) == ({"cache": True}, True)
    assert orch.config_version == before.config_version + 1
    assert Event.objects.filter(kind="config.changed", orchestrator_id="orch-001").count() == 1
    row = AuditEntry.objects.get()
    assert row.before == {"features": {}, "privacy_mode": False}
    assert row.after == {"features": {"cache": True}, "privacy_mode": True}


def test_saving_nothing_new_writes_nothing(console: Client, orch: Instance) -> None:
    assert console.post(page(orch), form(features="{ }")).status_code == 302
    assert not AuditEntry.objects.exists()
    assert not Event.objects.exists()


@pytest.mark.parametrize(("text", "words"), [('{"a": }', "line 1, column 7"), ("[1]", "Write a JSON object")])
def test_bad_json_is_explained_beside_its_field(console: Client, orch: Instance, text: str, words: str) -> None:
    answer = console.post(page(orch), form(features=text))
    assert answer.status_code == 200
    assert words in answer.content.decode()
    assert not AuditEntry.objects.exists()


def test_adding_and_deleting_and_adding_again(console: Client, acme: Organization) -> None:
    AuditEntry.objects.all().delete()
    add = reverse("admin:orchestrators_instance_add")
    body = form(orchestrator_id="orch-009", organization="acme", name="Nine")
    assert console.post(add, body).status_code == 302
    assert AuditEntry.objects.get().action == "orchestrator.create"
    assert "exists already" in console.post(add, body).content.decode()
    first = Instance.objects.get(orchestrator_id="orch-009")
    url = reverse("admin:orchestrators_instance_delete", args=[first.pk])
    asked = console.get(url).content.decode()
    assert all(words in asked for words in ("orch-009", "stays blocked", "Messages, events, metrics"))
    assert console.post(url, {"post": "yes"}).status_code == 302
    assert not Instance.objects.present().exists()
    assert AuditEntry.objects.filter(action="orchestrator.delete", actor="root").count() == 1
    assert console.post(add, body).status_code == 302
    assert Instance.objects.present().count() == 1


def test_the_lists_delete_action_uses_the_registry(console: Client, orch: Instance) -> None:
    body = {"action": "delete_selected", "_selected_action": [orch.pk]}
    asked = console.post(reverse("admin:orchestrators_instance_changelist"), body).content.decode()
    assert f'name="_selected_action" value="{orch.pk}"' in asked
    assert "stays blocked" in asked
    body |= {"post": "yes"}
    assert console.post(reverse("admin:orchestrators_instance_changelist"), body).status_code == 302
    orch.refresh_from_db()
    assert orch.deleted_at is not None
    assert AuditEntry.objects.get().action == "orchestrator.delete"


@pytest.mark.parametrize("word", ["live", "no spaces"])
def test_a_bad_id_is_refused_beside_its_field(console: Client, acme: Organization, word: str) -> None:
    answer = console.post(reverse("admin:orchestrators_instance_add"), form(orchestrator_id=word, organization="acme"))
    assert answer.status_code == 200
    assert not Instance.objects.exists()


def test_an_organizations_settings_reach_its_orchestrators(console: Client, orch: Instance) -> None:
    settings_ = {"config": {"llm": {"model": "m"}}}
    body = {"name": "Acme 2", "status": "active", "is_active": "on", "settings": json.dumps(settings_)}
    assert console.post(reverse("admin:orgs_organization_change", args=["acme"]), body).status_code == 302
    fresh = Instance.objects.get(pk=orch.pk)
    assert fresh.config_version == orch.config_version + 1
    assert fresh.organization_name == "Acme 2"
    assert fresh.config_document()["llm"] == {"model": "m"}
    assert Event.objects.filter(kind="config.changed").count() == 1


# --- messages -------------------------------------------------------------------------------------------------------


def test_a_message_is_queued_with_one_audit_row(console: Client, orch: Instance) -> None:
    url = reverse("admin:orchestrators_instance_message", args=[orch.pk])
    answer = console.post(url, {"message_type": "reload", "content": '{"what": "prompts"}'})
    assert answer.status_code == 302
    message = Message.objects.get()
    assert (message.message_type, message.message_content, message.status) == ("reload", {"what": "prompts"}, "pending")
    assert AuditEntry.objects.get().action == "message.queue"
    assert "reload" in console.get(reverse("admin:orchestrators_message_changelist")).content.decode()
    assert console.get(reverse("admin:orchestrators_message_change", args=[message.pk])).status_code == 200


@pytest.mark.parametrize(
    ("kind", "content", "words"),
    [("ping", "{}", "belongs to the protocol"), ("", "{}", "required"), ("x", "{", "This is not JSON")],
)
def test_a_bad_message_is_explained_beside_its_field(
    console: Client, orch: Instance, kind: str, content: str, words: str
) -> None:
    url = reverse("admin:orchestrators_instance_message", args=[orch.pk])
    answer = console.post(url, {"message_type": kind, "content": content})
    assert words in answer.content.decode()
    assert not Message.objects.exists()


# --- the list -------------------------------------------------------------------------------------------------------


def fill(acme: Organization, start: int, count: int) -> None:
    Instance.objects.bulk_create(
        Instance(orchestrator_id=f"o-{number:04}", organization=acme, organization_name="Acme")
        for number in range(start, start + count)
    )


@pytest.mark.parametrize("url", ["/admin/", "/admin/orchestrators/instance/"])
def test_it_asks_as_much_for_200_as_for_10(
    console: Client, acme: Organization, django_assert_max_num_queries: Callable[..., Any], url: str
) -> None:
    fill(acme, 0, 10)
    with django_assert_max_num_queries(20) as first:
        assert console.get(url).status_code == 200
    fill(acme, 10, 190)
    with django_assert_max_num_queries(len(first)) as second:
        assert console.get(url).status_code == 200
    assert len(second) == len(first) <= 13  # one counts the approvals for the sidebar


def test_the_page_of_one_asks_little(
    console: Client, orch: Instance, django_assert_max_num_queries: Callable[..., Any]
) -> None:
    Message.objects.bulk_create(
        Message(orchestrator=orch, message_id=f"m{number}", message_type="t") for number in range(30)
    )
    with django_assert_max_num_queries(12):
        assert console.get(page(orch)).status_code == 200


def test_the_front_page_shows_trouble_first(console: Client, acme: Organization) -> None:
    statuses = ["active", "inactive", "independent", "degraded", "error"]
    for number, status in enumerate(statuses):
        instances.create(f"o-{number}", organization=acme, acting_user=None)
        Instance.objects.filter(orchestrator_id=f"o-{number}").update(status=status)
    text = console.get("/admin/").content.decode()
    shown = re.findall(r'data-live="status" data-of="[^"]+" data-status="(\w+)"', text)
    assert shown == ["error", "degraded", "inactive", "active", "independent"]


def test_ignored_heartbeats_are_said_beside_the_last_seen(console: Client, orch: Instance) -> None:
    url = reverse("admin:orchestrators_instance_changelist")
    assert 'data-of="orch-001" hidden>heartbeats ignored' in console.get(url).content.decode()
    independence.set_instance("orch-001", is_independent=True, acting_user=None)
    assert 'data-of="orch-001">heartbeats ignored' in console.get(url).content.decode()


def test_filters_and_search_find_the_right_ones(console: Client, orch: Instance) -> None:
    fill(orch.organization, 0, 2)
    independence.set_instance("orch-001", is_independent=True, acting_user=None)
    url = reverse("admin:orchestrators_instance_changelist")
    for query in ("?status__exact=independent", "?q=orch-0", "?organization__organization_id__exact=acme&q=orch"):
        text = console.get(url + query).content.decode()
        assert "orch-001" in text, query
        assert "o-0001" not in text, query


def test_a_deleted_orchestrator_is_not_listed(console: Client, orch: Instance) -> None:
    instances.delete(orch, acting_user=None)
    assert "<b>orch-001</b>" not in console.get(reverse("admin:orchestrators_instance_changelist")).content.decode()


def test_the_browser_and_the_server_draw_the_same_badges() -> None:
    script = (Path(settings.BASE_DIR) / "moolai/static/moolai/live.js").read_text()
    block = re.search(r"const STATUS = \{(.+?)\n  \};", script, re.DOTALL)
    assert block
    found = re.findall(r'(\w+): \["(.)", "([^"]+)", "(\w+)"\]', block[1])
    assert {word: (glyph, text, tone) for word, glyph, text, tone in found} == badges.STATUS
    assert set(badges.STATUS) == set(Instance.Status.values)
    line = re.search(r"const CONFIG = \{(.+?)\};", script)
    assert line
    assert dict(re.findall(r'(\w+): "(\w+)"', line[1])) == badges.CONFIG
