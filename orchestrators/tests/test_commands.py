"""The operators' commands of the fleet: what they print, refuse and leave behind."""

import io
import json
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command, load_command_class
from django.db import connection
from django.utils import timezone

from moolai.testing.processes import wait_until
from orchestrators import configuration, instances
from orchestrators.admin import panels
from orchestrators.configuration import rollouts
from orchestrators.management.commands import fleet_status
from orchestrators.models import Instance, Message
from orgs import organizations
from orgs.admin import sentences
from orgs.models import AuditEntry, Event, Organization

COMMANDS = sorted(path.stem for path in (Path(__file__).parents[1] / "management" / "commands").glob("[a-z]*.py"))


def run(*arguments: str) -> str:
    """Run a command and return what it wrote to standard output."""
    out = io.StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


@pytest.fixture
def fleet(db: None, settings: Any, tmp_path: Path) -> Organization:
    """Acme with orch-001 (connected) and orch-002 (never seen); Globex with orch-003 (independent)."""
    settings.INDEPENDENCE_ENV_FILE = tmp_path / "independence.env"
    settings.INDEPENDENCE_JSON_FILE = tmp_path / "independence.json"
    acme = organizations.create("acme", name="Acme", acting_user=None)
    globex = organizations.create("globex", name="Globex", acting_user=None)
    for number, organization in ((1, acme), (2, acme), (3, globex)):
        instances.create(f"orch-00{number}", organization=organization, acting_user=None)
    seen = timezone.now() - timedelta(minutes=3)
    Instance.objects.filter(orchestrator_id="orch-001").update(
        status="active",
        is_connected=True,
        last_seen=seen,
        version="1.2.3",
        config_status="applied",
        node="web:1",
        labels={"region": "eu", "env": "prod"},
    )
    Instance.objects.filter(orchestrator_id="orch-003").update(status="independent", is_independent=True)
    return acme


# --- fleet_status ----------------------------------------------------------------------------------------------------


def test_the_table_shows_every_orchestrator_on_a_line(fleet: Organization) -> None:
    lines = run("fleet_status", "--no-color").splitlines()
    cells = [[cell.strip() for cell in line.split("  ") if cell] for line in lines]
    assert cells[0] == [
        "ORCHESTRATOR",
        "ORGANIZATION",
        "STATUS",
        "CONNECTED",
        "LAST SEEN",
        "VERSION",
        "CONFIG",
        "LABELS",
    ]
    assert cells[1] == [
        "orch-001", "acme", "● Active", "yes", "3 minutes ago", "1.2.3", "none published, applied",
        "env=prod, region=eu",
    ]  # fmt: skip
    assert cells[2] == [
        "orch-002", "acme", "○ Inactive", "no", "never", "–", "none published, unknown", "–",
    ]  # fmt: skip
    assert cells[3][:3] == ["orch-003", "globex", "◆ Independent"]
    assert lines[4] == "3 orchestrators, 1 connected"


@pytest.mark.parametrize(("status", "badge"), [("degraded", "✖ Error (degraded)"), ("error", "✖ Error")])
def test_trouble_has_its_badge(fleet: Organization, status: str, badge: str) -> None:
    Instance.objects.filter(orchestrator_id="orch-001").update(status=status)
    assert badge in run("fleet_status").splitlines()[1]


def test_colors_are_for_terminals_only(fleet: Organization) -> None:
    assert "\x1b[" not in run("fleet_status", "--no-color")
    assert "\x1b[32m● Active\x1b[0m" in run("fleet_status", "--force-color")


def test_one_organization_can_be_chosen(fleet: Organization) -> None:
    assert "orch-001" not in run("fleet_status", "--organization", "globex")
    assert "1 orchestrators, 0 connected" in run("fleet_status", "--organization", "globex")
    with pytest.raises(CommandError, match="no organization nowhere"):
        run("fleet_status", "--organization", "nowhere")


def test_labels_choose(fleet: Organization) -> None:
    assert "1 orchestrators, 1 connected" in run("fleet_status", "--labels", "env=prod,region=eu")
    assert run("fleet_status", "--labels", "env=prod,region=us") == "No orchestrator carries these labels.\n"
    with pytest.raises(CommandError, match="no label: write name=value"):
        run("fleet_status", "--labels", "prod")


def test_json_is_one_document_with_exact_values(fleet: Organization) -> None:
    rows = json.loads(run("fleet_status", "--json"))["orchestrators"]
    assert [row["orchestrator_id"] for row in rows] == ["orch-001", "orch-002", "orch-003"]
    assert rows[1] == {
        "orchestrator_id": "orch-002", "organization_id": "acme", "status": "inactive", "is_connected": False,
        "is_independent": False, "independence_source": None, "last_seen": None, "node": "", "version": "",
        "organization_version": 0, "config_version": 1, "config_status": "unknown", "labels": {},
    }  # fmt: skip
    assert (rows[0]["is_connected"], rows[0]["node"], rows[0]["last_seen"][-1]) == (True, "web:1", "Z")
    assert (rows[2]["is_independent"], rows[2]["independence_source"]) == (True, "own")


def test_an_empty_fleet_says_how_to_begin(db: None) -> None:
    assert "create_api_key" in run("fleet_status")
    assert json.loads(run("fleet_status", "--json")) == {"orchestrators": []}


def test_a_deleted_orchestrator_is_not_shown(fleet: Organization) -> None:
    instances.delete(Instance.objects.get(orchestrator_id="orch-002"), acting_user=None)
    assert "orch-002" not in run("fleet_status")


def test_the_fleet_shows_the_version_of_its_organization_and_not_how_often_each_was_sent_one(
    fleet: Organization,
) -> None:
    configuration.publish(fleet, {"llm": {"model": "a"}}, acting_user=None)
    configuration.publish(fleet, {"llm": {"model": "b"}}, acting_user=None)
    first = Instance.objects.get(orchestrator_id="orch-001")
    instances.update(first, acting_user=None, features={"cache": True})  # a third push, to it alone
    assert "version 2 " in run("fleet_status").splitlines()[1]
    rows = json.loads(run("fleet_status", "--json"))["orchestrators"]
    assert [(row["organization_version"], row["config_version"]) for row in rows] == [(2, 4), (2, 3), (0, 1)]
    changed = Event.objects.filter(kind="config.changed", orchestrator_id="orch-001").latest("id")
    assert sentences.of(changed).text == "orch-001 has a new configuration (acme version 2, push 4)"
    first.refresh_from_db()
    assert panels.configuration(first)["rows"][1][1].startswith("acme version 2 · push 4 · sha256:")


def test_before_anything_is_published_the_page_says_so(fleet: Organization) -> None:
    row = Instance.objects.get(orchestrator_id="orch-001")
    assert panels.configuration(row)["rows"][1][1].startswith("no configuration published · push 1 · sha256:")
    instances.update(row, acting_user=None, features={"cache": True})
    changed = Event.objects.filter(kind="config.changed", orchestrator_id="orch-001").latest("id")
    assert sentences.of(changed).text == "orch-001 has a new configuration (push 2)"


def test_one_that_a_rollout_reached_shows_the_rollouts_version(fleet: Organization) -> None:
    configuration.publish(fleet, {"llm": {"model": "a"}}, acting_user=None)
    Instance.objects.filter(orchestrator_id="orch-001").update(is_acknowledging=True)
    stages = [{"labels": {"env": "prod"}}]
    rollouts.start(fleet, {"llm": {"model": "b"}}, wanted=stages, acting_user=None)
    rows = json.loads(run("fleet_status", "--json"))["orchestrators"]
    assert [row["organization_version"] for row in rows] == [2, 1, 0]
    row = Instance.objects.get(orchestrator_id="orch-001")
    shown = dict(panels.configuration(row)["rows"])
    assert shown["Desired"].startswith("acme version 2 · push 3")
    assert f"rollout {row.config_rollout_id}, of version 2" in shown["Came by"]


def test_the_fleet_is_one_query(fleet: Organization, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        run("fleet_status")


def test_watching_shows_what_changed_until_interrupted(fleet: Organization, monkeypatch: pytest.MonkeyPatch) -> None:
    def turn(seconds: float) -> None:
        assert seconds == 1
        if Instance.objects.filter(orchestrator_id="orch-002", status="error").exists():
            raise KeyboardInterrupt
        Instance.objects.filter(orchestrator_id="orch-002").update(status="error")

    monkeypatch.setattr(time, "sleep", turn)
    text = run("fleet_status", "--watch", "--no-color")
    assert text.count("3 orchestrators, 1 connected") == 2
    assert text.index("○ Inactive") < text.index("✖ Error")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "never"), (-5, "0 seconds ago"), (0, "0 seconds ago"), (1.9, "1 second ago"), (59.9, "59 seconds ago"),
        (60, "1 minute ago"), (3599, "59 minutes ago"), (7200, "2 hours ago"), (86_400, "1 day ago"),
        (10 * 86_400, "10 days ago"),
    ],
)  # fmt: skip
def test_moments_are_told_in_words(seconds: float | None, words: str) -> None:
    assert fleet_status.ago(seconds) == words


# --- independence ----------------------------------------------------------------------------------------------------


def test_an_orchestrator_is_made_independent_and_managed_again(fleet: Organization) -> None:
    assert run("independence", "orch-001", "on", "--reason", "works") == "orchestrator orch-001 is independent.\n"
    row = Instance.objects.get(orchestrator_id="orch-001")
    assert (row.is_independent, row.status) == (True, "independent")
    entry = AuditEntry.objects.get(action="orchestrator.independence")
    assert (entry.actor, entry.reason, entry.target_id) == ("command independence", "works", "orch-001")
    assert run("independence", "orch-001", "off") == "orchestrator orch-001 is managed.\n"
    assert Instance.objects.get(orchestrator_id="orch-001").status == "active"


def test_a_whole_organization_is_made_independent(fleet: Organization) -> None:
    assert run("independence", "acme", "on", "--organization") == "organization acme is independent.\n"
    assert Organization.objects.get(pk="acme").is_independent
    assert set(Instance.objects.values_list("status", flat=True)) == {"independent"}
    assert not Instance.objects.filter(organization_id="acme", is_independent=True).exists()


@pytest.mark.parametrize("arguments", [["nowhere", "on"], ["acme", "on"], ["orch-001", "on", "--organization"]])
def test_an_unknown_id_is_said(fleet: Organization, arguments: list[str]) -> None:
    with pytest.raises(CommandError, match=f"no (orchestrator|organization) {arguments[0]}"):
        run("independence", *arguments)
    assert not AuditEntry.objects.filter(action__endswith="independence").exists()


def test_a_state_is_on_or_off(fleet: Organization) -> None:
    with pytest.raises(CommandError, match="invalid choice"):
        run("independence", "orch-001", "maybe")


# --- send_message ----------------------------------------------------------------------------------------------------


def test_a_message_is_queued_and_named(fleet: Organization) -> None:
    text = run("send_message", "orch-001", "restart", '{"grace": 5}', "--expires-in", "60")
    message = Message.objects.get()
    assert text == f"{message.message_id} pending (attempts 0)\n"
    assert (message.message_type, message.message_content) == ("restart", {"grace": 5})
    assert message.expires_at is not None
    assert AuditEntry.objects.get(action="message.queue").actor == "command send_message"


def test_without_content_it_is_an_empty_object(fleet: Organization) -> None:
    run("send_message", "orch-001", "restart")
    assert Message.objects.get().message_content == {}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["nowhere", "restart"], "no orchestrator nowhere"),
        (["orch-001", "provisioning"], "belongs to the protocol"),
        (["orch-001", "restart", "{bad"], "not JSON"),
        (["orch-001", ""], "message_type: Give a type"),
    ],
)
def test_what_cannot_be_sent_is_said(fleet: Organization, arguments: list[str], text: str) -> None:
    with pytest.raises(CommandError, match=text):
        run("send_message", *arguments)
    assert not Message.objects.exists()


def answer_soon(**columns: Any) -> threading.Thread:
    """Do what the orchestrator's acknowledgement does, from another connection, once the message is there."""

    def answer() -> None:
        try:
            assert wait_until(Message.objects.exists, timeout_seconds=10)
            Message.objects.update(**columns)
        finally:
            connection.close()

    thread = threading.Thread(target=answer)
    thread.start()
    return thread


@pytest.mark.django_db(transaction=True)
def test_waiting_follows_the_message_to_its_result(transactional_db: None, fleet: Organization) -> None:
    thread = answer_soon(status="delivered", attempts=1, result={"restarted": True})
    lines = run("send_message", "orch-001", "restart", "--wait", "10").splitlines()
    thread.join(10)
    assert lines[0].endswith(" delivered (attempts 1)")
    assert json.loads(lines[1]) == {"restarted": True}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("status", ["failed", "expired"])
def test_waiting_for_what_fails_ends_with_an_error(transactional_db: None, fleet: Organization, status: str) -> None:
    thread = answer_soon(status=status, attempts=2, error="no such command")
    out = io.StringIO()
    with pytest.raises(CommandError, match="not delivered"):
        call_command("send_message", "orch-001", "restart", "--wait", "10", stdout=out)
    thread.join(10)
    assert out.getvalue().endswith(f" {status} (attempts 2): no such command\n")


def test_waiting_ends_in_time(fleet: Organization) -> None:
    started = datetime.now(UTC)
    out = io.StringIO()
    with pytest.raises(CommandError, match=r"not delivered within 0\.3 s; it stays queued") as caught:
        call_command("send_message", "orch-001", "restart", "--wait", "0.3", stdout=out)
    assert (caught.value.returncode, " pending " in out.getvalue()) == (2, True)
    assert 0.25 < (datetime.now(UTC) - started).total_seconds() < 5


# --- sync_independence -----------------------------------------------------------------------------------------------


def test_the_files_are_rebuilt_and_named(fleet: Organization, settings: Any) -> None:
    text = run("sync_independence")
    assert str(settings.INDEPENDENCE_ENV_FILE) in text
    assert str(settings.INDEPENDENCE_JSON_FILE) in text
    assert "ORCHESTRATOR_ORCH_003_INDEPENDENT=true\n" in settings.INDEPENDENCE_ENV_FILE.read_text()


# --- all -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str) -> None:
    command = load_command_class("orchestrators", name)
    assert len(command.help) > 20
    assert command.help[:20] in " ".join(command.create_parser("manage.py", name).format_help().split())
