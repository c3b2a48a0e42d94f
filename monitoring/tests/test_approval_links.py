"""Approvals by link: what channels are told, and what the page does and refuses."""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from monitoring.alerts import channels, dispatch
from monitoring.alerts.senders import slack
from monitoring.alerts.senders.letters import Letter
from monitoring.approvals import links, telling
from monitoring.models import Channel, Delivery
from monitoring.tests import receivers
from monitoring.tests.receivers import Receiver
from moolai.errors import InvalidInput
from orchestrators import work
from orchestrators.models import Approval, Task
from orchestrators.work import approvals, sweeping
from orgs import audit, organizations, rates
from orgs.models import AuditEntry, Organization

pytestmark = pytest.mark.django_db
HOME = "https://moolai.example"


@pytest.fixture(autouse=True)
def place(settings: Any) -> Organization:
    settings.OUTBOUND_ALLOWED_CIDRS, settings.PUBLIC_URL, settings.REDIS_URL = ["127.0.0.0/8"], HOME, ""
    rates._memory.windows.clear()
    return organizations.create("org-001", name="One", acting_user=None)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receivers.http() as found:
        yield found


def channel(receiver: Receiver, **wish: Any) -> Channel:
    """Make a Slack channel of org-001 that takes approvals."""
    given: dict[str, Any] = {"kind": "slack", "name": "ops", "url": receiver.url(), "takes_approvals": True} | wish
    home = Organization.objects.get(pk="org-001")
    return channels.create(home, acting_user=None, **given)[0]


def waiting(**more: Any) -> Task:
    home = Organization.objects.get(pk="org-001")
    wish: dict[str, Any] = {"task_type": "deployment", "payload": {"key": "not-for-chats"}, "priority": "P1"} | more
    return work.create(home, acting_user=None, **wish)


def link(receiver: Receiver) -> str:
    """Make a channel and a task, have the channel told, and return the path of the link in the message."""
    channel(receiver)
    waiting()
    dispatch.drain()
    [found] = re.findall(rf"<{HOME}(/decide/apl_[^|]+)\|Approve or reject>", str(receiver.taken[0].body))
    return str(found)


def state() -> tuple[str, str, str]:
    row = Approval.objects.select_related("task").get()
    return row.status, row.task.status, row.decided_by


# --- what channels are told ------------------------------------------------------------------------------------------


def test_a_channel_that_takes_approvals_is_told_from_beginning_to_end(receiver: Receiver) -> None:
    channel(receiver)
    channel(receiver, name="alerts only", takes_approvals=False)
    other = organizations.create("org-002", name="Two", acting_user=None)
    channels.create(other, kind="slack", name="x", url=receiver.url(), takes_approvals=True, acting_user=None)
    task = waiting()
    dispatch.drain()
    Approval.objects.update(created_at=timezone.now() - timedelta(minutes=16))
    sweeping.sweep(now=timezone.now())
    dispatch.drain()
    approvals.reject(task.approval, acting_user=None, reason="not on a Friday")
    dispatch.drain()
    told = [one.body["text"] for one in receiver.taken]
    assert told == [
        "🟠 Approval needed: deployment (P1)", "🟠 Still waits for approval: deployment (P1)",
        "🟢 Rejected: deployment (P1)",
    ]  # fmt: skip
    bodies = [str(one.body) for one in receiver.taken]
    assert ["/decide/apl_" in body for body in bodies] == [True, True, False]
    assert "not on a Friday" in bodies[2]
    assert not any("not-for-chats" in body for body in bodies)
    assert not any("apl_" in str(row.notice) for row in Delivery.objects.all())


@pytest.mark.parametrize(
    ("status", "action", "mark"),
    [
        ("pending", "trigger", "🟠"), ("approved", "resolve", "🟢"), ("rejected", "resolve", "🟢"),
        ("expired", "resolve", "⚪"), ("withdrawn", "resolve", "⚪"),
    ],
)  # fmt: skip
def test_slack_marks_what_nobody_decided_and_calls_a_key_by_its_name(status: str, action: str, mark: str) -> None:
    with audit.origin("key key_a1afa215cc32598c (ci-pipeline)"):
        row = waiting()
    row.approval.status = status
    told = slack.message(Letter("slack", "", "", {}, (), "dlv_1", action, telling.notice(row.approval, row), 0.0))
    assert told["text"].startswith(mark)
    assert "*Created by:* API key “ci-pipeline”" in str(told["blocks"])


def test_what_was_decided_before_anybody_heard_is_not_told(receiver: Receiver) -> None:
    channel(receiver)
    work.cancel(waiting(), acting_user=None)
    waiting(priority="P2")
    dispatch.drain()
    assert receiver.taken == []


def test_a_webhook_and_a_mail_have_the_link_too(receiver: Receiver, settings: Any, mailoutbox: list[Any]) -> None:
    channel(receiver, kind="webhook")
    channel(receiver, kind="email", url="", recipients=["ops@example.com"])
    with pytest.raises(InvalidInput):
        channel(receiver, kind="pagerduty", url="", secret="k" * 32)
    waiting()
    dispatch.drain()
    [taken] = receiver.taken
    assert taken.headers["X-Moolai-Event"] == "approval.trigger"
    assert taken.body["approval"]["url"].startswith(f"{HOME}/decide/apl_")
    assert f"Approve or reject: {HOME}/decide/apl_" in mailoutbox[0].body
    assert mailoutbox[0].subject == "[error] Approval needed: deployment (P1)"


@pytest.mark.once
def test_without_links_the_message_leads_to_the_console(receiver: Receiver, settings: Any) -> None:
    settings.APPROVAL_LINK_HOURS = 0
    channel(receiver)
    waiting()
    dispatch.drain()
    assert f"<{HOME}/admin/orchestrators/task/{Task.objects.get().pk}/change/|Open in moolai>" in str(
        receiver.taken[0].body
    )
    assert slack.escape("a|b") in slack.escape("x a|b")


@pytest.mark.once
def test_messages_and_the_page_behind_a_link_lead_to_the_tasks_page(receiver: Receiver, client: Client) -> None:
    path = link(receiver)
    task = Task.objects.get()
    there = reverse("admin:orchestrators_task_change", args=[task.pk])
    assert telling.notice(task.approval, task)["url"] == f"{HOME}{there}"
    work.cancel(task, acting_user=None)
    assert f'href="{there}"' in client.get(path).content.decode()
    assert telling.console(task.pk) == there


# --- the page --------------------------------------------------------------------------------------------------------


def test_a_get_asks_and_a_post_decides_once(receiver: Receiver) -> None:
    path = link(receiver)
    browser = Client(enforce_csrf_checks=True)
    for _ in range(2):  # what looks ahead at links decides nothing
        page = browser.get(path)
        assert (page.status_code, state()) == (200, ("pending", "pending_approval", ""))
    assert browser.head(path).status_code == 200
    text = page.content.decode()
    assert "deployment" in text
    assert f'href="/admin/orchestrators/task/{Task.objects.get().pk}/change/"' in text
    assert "not-for-chats" not in text
    assert page["X-Frame-Options"] == "DENY"
    assert "frame-ancestors 'none'" in page["Content-Security-Policy"]
    assert "form-action 'self'" in page["Content-Security-Policy"]
    assert (page["Cache-Control"], page["Referrer-Policy"]) == ("no-store", "same-origin")
    assert page["X-RateLimit-Limit"]
    assert browser.post(path, {"decision": "approve"}).status_code == 403
    assert state()[0] == "pending"
    form = {"csrfmiddlewaretoken": re.findall(r'csrfmiddlewaretoken" value="(\w+)"', text)[0]}
    assert browser.post(path, form).status_code == 400
    done = browser.post(path, form | {"decision": "approve", "reason": "go"})
    assert (done.status_code, "link sent to ops" in done.content.decode()) == (200, True)
    assert state() == ("approved", "assigned", "link sent to ops")
    row = AuditEntry.objects.filter(action="approval.approve").get()
    assert (row.actor, row.reason, row.remote_address) == ("link sent to ops", "go", "127.0.0.1")
    for answer in (browser.get(path), browser.post(path, form | {"decision": "reject"})):
        assert (answer.status_code, "It was approved by link sent to ops" in answer.content.decode()) == (410, True)
    assert state()[0] == "approved"
    assert Client().delete(path).status_code == 405


def test_a_rejection_cancels_the_task(receiver: Receiver) -> None:
    path = link(receiver)
    assert Client().post(path, {"decision": "reject", "reason": "no"}).status_code == 200
    assert state() == ("rejected", "cancelled", "link sent to ops")


def test_a_link_is_worth_nothing_once_its_channel_changed_or_its_organization_is_suspended(receiver: Receiver) -> None:
    path = link(receiver)
    row = Channel.objects.get()
    for wish in ({"takes_approvals": False}, {"is_enabled": False}, {"url": receiver.url("/elsewhere")}):
        before = {name: getattr(row, name) for name in wish if name != "url"} or {"url": receiver.url()}
        row, _ = channels.update(row, acting_user=None, **wish)
        assert Client().post(path, {"decision": "approve"}).status_code == 404
        row, _ = channels.update(row, acting_user=None, **before)
        assert Client().get(path).status_code == 200
    Organization.objects.update(status=Organization.Status.SUSPENDED)
    assert [Client().get(path).status_code, Client().post(path, {"decision": "approve"}).status_code] == [404, 404]
    assert state()[0] == "pending"


def test_a_link_that_was_made_up_changed_or_too_old_is_refused(receiver: Receiver, settings: Any) -> None:
    path = link(receiver)
    row, approval = Channel.objects.get(), Approval.objects.get()
    for wrong in ("/decide/apl_x", "/decide/x", path[:-2], path + "AA", "/decide/apl_" + "A" * 300, path + "é"):
        assert Client().get(wrong).status_code == 404, wrong
    over = links.sign(approval.approval_id, row, expires_at=timezone.now() - timedelta(seconds=1))
    for answer in (Client().get(f"/decide/{over}"), Client().post(f"/decide/{over}", {"decision": "approve"})):
        assert (answer.status_code, "expired" in answer.content.decode()) == (410, True)
    later = links.read(path.removeprefix("/decide/")).expires_at - timezone.now()
    assert timedelta(hours=23) < later <= timedelta(hours=24)
    settings.SECRET_KEY = "another-" + "k" * 50
    assert Client().get(path).status_code == 404
    assert state()[0] == "pending"


def test_who_may_not_approve_their_own_has_to_sign_in(receiver: Receiver, place: Organization) -> None:
    path = link(receiver)
    Organization.objects.update(settings={"approvals": {"forbid_own": True}})
    assert Client().get(path).status_code == 403
    assert Client().post(path, {"decision": "approve"}).status_code == 403
    assert state()[0] == "pending"
    waiting()
    dispatch.drain()
    assert "/decide/" not in str(receiver.taken[1].body)


@pytest.mark.once
def test_calls_are_limited_by_address(receiver: Receiver, settings: Any) -> None:
    path = link(receiver)
    settings.RATE_LIMITS = settings.RATE_LIMITS | {"APPROVALS": "2/minute"}
    answers = [Client().post(path, {"decision": "?"}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [400, 400, 429]
    assert int(answers[2]["Retry-After"]) > 0
    assert answers[0]["X-RateLimit-Remaining"] == "1"
