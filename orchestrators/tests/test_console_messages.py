"""The console's pages of messages: the list, compose, the page of one, retry and cancel, and what they leave behind."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from orchestrators import instances, messages
from orchestrators.admin import badges, timeline
from orchestrators.messages import outbox
from orchestrators.messages.outbox import Receipt, Recipient
from orchestrators.models import Instance, Message
from orgs import organizations
from orgs.models import AuditEntry, Event, User

pytestmark = pytest.mark.django_db
LIST = "/admin/orchestrators/message/"


@pytest.fixture
def orch() -> Instance:
    acme = organizations.create("acme", name="Acme", acting_user=None)
    return instances.create("orch-001", organization=acme, acting_user=None)


@pytest.fixture
def message(orch: Instance) -> Message:
    row = messages.queue("orch-001", message_type="reload", content={"what": "prompts"}, acting_user=None)
    AuditEntry.objects.all().delete()
    return row


def text_of(console: Client, url: str) -> str:
    answer = console.get(url)
    assert answer.status_code == 200, answer
    return answer.content.decode()


def page(row: Message) -> str:
    return reverse("admin:orchestrators_message_change", args=[row.pk])


def decide(console: Client, row: Message, verdict: str) -> str:
    url = reverse("admin:orchestrators_message_verdict", args=[row.pk])
    return console.post(url, {"verdict": verdict}, follow=True).content.decode()


def compose(console: Client, **changed: Any) -> Any:
    body = {"orchestrator": "orch-001", "message_type": "reload", "message_content": '{"a": 1}', **changed}
    return console.post(f"{LIST}add/", body)


# --- the list -------------------------------------------------------------------------------------------------------


def test_the_list_shows_both_directions_and_counts_nothing(
    console: Client, message: Message, django_assert_max_num_queries: Any
) -> None:
    Message.objects.create(orchestrator_id="orch-001", message_id="u", message_type="hello", direction="inbound")
    with django_assert_max_num_queries(8) as seen:
        text = text_of(console, LIST)
    assert all(words in text for words in ("reload", "↓ to it", "hello", "↑ from it", 'data-live-topics="messages"'))
    sql = " ".join(query["sql"] for query in seen.captured_queries)
    assert "COUNT(" not in sql.upper()
    assert not re.search(r'SELECT[^;]*"message_content"[^;]*LIMIT', sql)


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("status__exact=pending", True),
        ("status__exact=failed", False),
        ("direction__exact=outbound", True),
        ("direction__exact=inbound", False),
        ("orchestrator__orchestrator_id__exact=orch-001", True),
        ("orchestrator__orchestrator_id__exact=orch-002", False),
        ("orchestrator__organization__organization_id__exact=acme", True),
        ("orchestrator__organization__organization_id__exact=zeta", False),
        ("message_type=reload", True),
        ("message_type=other", False),
        ("created_at_from_0=2020-01-01&created_at_from_1=00:00", True),
        ("created_at_to_0=2020-01-01&created_at_to_1=00:00", False),
        ("q=orch-001", True),
        ("q=orch", False),
    ],
)
def test_each_filter_narrows(console: Client, message: Message, query: str, shown: bool) -> None:
    assert ("<b>reload</b>" in text_of(console, f"{LIST}?{query}")) is shown


# --- composing ------------------------------------------------------------------------------------------------------


def test_a_composed_message_is_queued_by_the_room_with_its_expiry(console: Client, orch: Instance) -> None:
    AuditEntry.objects.all().delete()
    answer = compose(console, expires_in_seconds="60")
    row = Message.objects.get()
    assert (answer.status_code, answer["Location"]) == (302, page(row))
    assert (row.message_type, row.message_content, row.status) == ("reload", {"a": 1}, "pending")
    assert row.expires_at is not None
    assert abs(row.expires_at - timezone.now() - timedelta(seconds=60)) < timedelta(seconds=10)
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.actor) == ("message.queue", "root")
    assert Event.objects.filter(kind="message.queued").count() == 1


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"message_type": "ping"}, "belongs to the protocol"),
        ({"message_type": ""}, "This field is required"),
        ({"message_content": '{"a": '}, "This is not JSON"),
        ({"message_content": "[1]"}, "Write a JSON object"),
        ({"message_content": '{"a": "\\ud800"}'}, "A lone surrogate is not a character"),
        ({"message_content": '{"a": "\\u0000"}'}, "The character NUL is not taken"),
        ({"message_content": '{"a": NaN}'}, "This is no finite number"),
        ({"message_content": '{"a": ' + "[" * 40 + "]" * 40 + "}"}, "Nest at most 32 levels"),
        ({"message_content": '{"a": ' + "[" * 20_000 + "]" * 20_000 + "}"}, "nested too deeply"),
        ({"message_content": '{"a": "%s"}' % ("x" * 262_000)}, "must fit a frame of 256 KiB"),
        ({"orchestrator": "nobody"}, "Select a valid choice"),
        ({"orchestrator": ""}, "This field is required"),
        ({"expires_in_seconds": "0"}, "greater than or equal to 1"),
        ({"expires_in_seconds": "99999999"}, "less than or equal to"),
    ],
)
def test_what_cannot_be_sent_is_explained_beside_its_field(
    console: Client, orch: Instance, changed: dict[str, str], words: str
) -> None:
    answer = compose(console, **changed)
    assert answer.status_code == 200
    [field] = [name for name, errors in answer.context["adminform"].form.errors.items() if words in str(errors)]
    assert field == next(iter(changed))
    assert not Message.objects.exists()


def test_the_orchestrators_page_leads_to_the_form_with_it_chosen(console: Client, orch: Instance) -> None:
    url = f"{LIST}add/?orchestrator=orch-001"
    assert url in text_of(console, reverse("admin:orchestrators_instance_change", args=[orch.pk]))
    assert '<option value="orch-001" selected>' in text_of(console, url)


# --- the page of one ------------------------------------------------------------------------------------------------


def test_the_page_tells_what_happened(console: Client, message: Message) -> None:
    text = text_of(console, page(message))
    assert all(words in text for words in ("Queued", "Waits until the orchestrator is connected", "prompts", "Cancel"))
    outbox.take([Recipient("orch-001", frozenset())])
    assert "Not acknowledged yet; sent again at" in text_of(console, page(message))
    outbox.acknowledge([Receipt("orch-001", "acme", message.message_id, True, "", {"took_ms": 3})])
    text = text_of(console, reverse("admin:orchestrators_message_panel", args=[message.pk]))
    assert all(words in text for words in ("Delivered", "took_ms"))
    assert "<html" not in text
    assert "Cancel" not in text
    assert "Send again" not in text


def test_an_inbound_message_has_no_buttons(console: Client, orch: Instance) -> None:
    row = Message.objects.create(orchestrator=orch, message_id="u", message_type="x", direction="inbound")
    text = text_of(console, page(row))
    assert "Received, stored and acknowledged" in text
    assert "Cancel" not in text
    assert "cannot become failed" in decide(console, row, "cancel")
    row.refresh_from_db()
    assert row.status != "failed"


def test_cancel_and_send_again_walk_the_state_machine_with_an_audit_row_each(console: Client, message: Message) -> None:
    assert "is cancelled" in decide(console, message, "cancel")
    message.refresh_from_db()
    assert (message.status, message.error) == ("failed", "cancelled in the console")
    assert "Failed: cancelled in the console" in text_of(console, page(message))
    assert "cannot become failed" in decide(console, message, "cancel")
    assert "is queued anew" in decide(console, message, "retry")
    message.refresh_from_db()
    assert (message.status, message.attempts, message.error) == ("pending", 0, "")
    found = AuditEntry.objects.filter(action="message.status", actor="root").order_by("id")
    changes = [(row.before, row.after) for row in found]
    assert [(before["status"], after["status"]) for before, after in changes if before and after] == [
        ("pending", "failed"),
        ("failed", "pending"),
    ]


def test_a_verdict_is_a_known_word_in_a_post(console: Client, message: Message) -> None:
    url = reverse("admin:orchestrators_message_verdict", args=[message.pk])
    assert console.get(url).status_code == 405
    assert console.post(url, {"verdict": "deliver"}).status_code == 400
    assert (
        console.post(reverse("admin:orchestrators_message_verdict", args=[0]), {"verdict": "retry"}).status_code == 404
    )
    assert not AuditEntry.objects.exists()


def test_nobody_but_a_superadmin_gets_in(client: Client, message: Message) -> None:
    client.force_login(User.objects.create_user("staff", is_staff=True))
    for name in ("panel", "verdict", "change"):
        url = reverse(f"admin:orchestrators_message_{name}", args=[message.pk])
        assert client.post(url, {"verdict": "cancel"}).status_code == 403, name
    assert compose(client).status_code == 403
    message.refresh_from_db()
    assert (message.status, Message.objects.count()) == ("pending", 1)


def test_the_browser_and_the_server_draw_the_same_message_badges() -> None:
    script = (Path(settings.BASE_DIR) / "moolai/static/moolai/live.js").read_text()
    line = re.search(r"const MESSAGE = \{(.+?)\};", script)
    assert line
    assert dict(re.findall(r'(\w+): "(\w+)"', line[1])) == badges.MESSAGE
    assert set(badges.MESSAGE) == set(Message.Status.values)


def test_all_that_is_wrong_with_a_message_is_said_at_once(console: Client, orch: Instance) -> None:
    answer = compose(console, message_type="ack", message_content="{", expires_in_seconds="-3").content.decode()
    for words in ("belongs to the protocol", "This is not JSON", "greater than or equal to 1"):
        assert words in answer


def test_what_was_cancelled_and_sent_again_keeps_both_lines(console: Client, message: Message) -> None:
    decide(console, message, "cancel")
    message.refresh_from_db()
    assert [step.text for step in timeline.steps(message)] == ["Queued", "Failed: cancelled in the console"]
    decide(console, message, "retry")
    message.refresh_from_db()
    assert [step.text for step in timeline.steps(message)] == [
        "Queued",
        "Given up by root: cancelled in the console",
        "Queued anew by root",
        "Waits until the orchestrator is connected",
    ]
