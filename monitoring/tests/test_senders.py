"""What each kind of channel is told, over real sockets: shape, escaping, signature, and how answers are taken."""

import hashlib
import hmac
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from monitoring.alerts import notices, senders
from monitoring.alerts.senders import Later, Letter, Refused, pagerduty, slack, webhook
from monitoring.models import Alert
from monitoring.tests import receivers
from monitoring.tests.receivers import Mailbox, Receiver
from orgs import outgoing
from orgs.tests.test_destinations import REFUSED, certificate

pytestmark = pytest.mark.once
LOOPBACK = ("127.0.0.0/8",)
NASTY = "@channel <!here> <@U1|x> <http://evil|ok> & *bold* _x_ `code` | - \r\nBcc: a@b.example\r\n\r\n"


def letter(kind: str, url: str = "", action: str = "trigger", secret: str = "", **fields: Any) -> Letter:
    settings = fields.pop("settings", {"recipients": ["ops@example.com"]})
    networks = fields.pop("networks", LOOPBACK)
    alert = Alert(alert_id="alr_1", organization_id="org-001", orchestrator_id="orch-001", alert_type="cpu")
    for name, value in {"dedup_key": "cpu:orch-001", "severity": "error", "title": "CPU is at 95 %", **fields}.items():
        setattr(alert, name, value)
    return Letter(kind, url, secret, settings, networks, "dlv_1", action, notices.of(alert), time.monotonic() + 5)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receivers.http() as found:
        yield found


@pytest.fixture
def box(settings: Any) -> Iterator[Mailbox]:
    with receivers.mailbox() as found:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", found.port
        yield found


# --- slack -----------------------------------------------------------------------------------------------------------


def test_slack_gets_blocks_and_a_text_for_the_notification(receiver: Receiver) -> None:
    senders.send(letter("slack", receiver.url("/services/T/B/x"), detail="for 5 minutes"))
    (taken,) = receiver.taken
    assert taken.path == "/services/T/B/x"
    assert taken.headers["Content-Type"] == "application/json"
    assert "Firing: CPU is at 95 %" in taken.body["text"]
    assert [block["type"] for block in taken.body["blocks"]] == ["header", "section", "context"]


def test_r29_nothing_in_an_alert_addresses_anybody_in_slack() -> None:
    found = slack.message(letter("slack", title=NASTY, detail=NASTY, orchestrator_id=NASTY))
    texts = [found["text"], found["blocks"][1]["text"]["text"], found["blocks"][2]["elements"][0]["text"]]
    for text in texts:
        assert "<" not in text
        assert "@channel" not in text
        assert "&lt;!here&gt;" in text.replace("\u2060", "")
        assert "*bold*" not in text
    assert slack.escape("task tsk_1f of snake_case_org") == "task tsk_1f of snake_case_org"  # an id is copied as it is
    assert slack.escape("_a_ *b* ~c~") == "_\u2060a_\u2060 *\u2060b*\u2060 ~\u2060c~\u2060"
    head = found["blocks"][0]["text"]
    assert head["type"] == "plain_text"
    assert len(head["text"]) <= 150
    assert "@channel" not in head["text"]


def test_long_texts_are_cut_to_what_slack_takes() -> None:
    found = slack.message(letter("slack", title="x" * 300, detail="y" * 5000))
    assert len(found["blocks"][0]["text"]["text"]) == 150
    assert len(found["blocks"][1]["text"]["text"]) <= 3000


# --- pagerduty -------------------------------------------------------------------------------------------------------


def test_pagerduty_is_triggered_acknowledged_and_resolved_under_one_key(receiver: Receiver, settings: Any) -> None:
    settings.PAGERDUTY_BASE_URL = receiver.url("")
    for action in ("trigger", "escalate", "acknowledge", "resolve"):
        senders.send(letter("pagerduty", action=action, secret="R" * 32))
    assert {taken.path for taken in receiver.taken} == {"/v2/enqueue"}
    assert receiver.keys() == {"cpu:orch-001": ["trigger", "trigger", "acknowledge", "resolve"]}
    first = receiver.taken[0].body
    assert first["routing_key"] == "R" * 32
    assert first["payload"]["severity"] == "error"
    assert first["payload"]["source"] == "orch-001"
    assert "payload" not in receiver.taken[-1].body


@pytest.mark.parametrize("severity", ["info", "warning", "error", "critical"])
def test_severities_are_pagerdutys_own(severity: str) -> None:
    assert pagerduty.event(letter("pagerduty", severity=severity))["payload"]["severity"] == severity


def test_a_long_key_stays_one_key() -> None:
    long = [
        pagerduty.event(letter("pagerduty", action=action, dedup_key="k" * 300)) for action in ("trigger", "resolve")
    ]
    assert long[0]["dedup_key"] == long[1]["dedup_key"]
    assert len(long[0]["dedup_key"]) <= 255


# --- webhooks --------------------------------------------------------------------------------------------------------


def test_a_webhook_is_signed_over_time_and_body(receiver: Receiver) -> None:
    senders.send(letter("webhook", receiver.url(), secret="whsec_1", title="grün"))
    (taken,) = receiver.taken
    stamp, given = taken.headers[webhook.TIMESTAMP], taken.headers[webhook.SIGNATURE]
    digest = hmac.new(b"whsec_1", stamp.encode() + b"." + taken.raw, hashlib.sha256).hexdigest()
    assert given == f"v1={digest}"
    assert abs(int(stamp) - time.time()) < 60
    assert taken.headers[webhook.DELIVERY] == taken.body["delivery_id"] == "dlv_1"
    assert taken.headers[webhook.EVENT] == "alert.trigger"
    assert taken.body["alert"]["title"] == "grün"


# --- mail ------------------------------------------------------------------------------------------------------------


def test_mail_goes_through_the_installations_server(box: Mailbox, settings: Any) -> None:
    settings.DEFAULT_FROM_EMAIL = "moolai@example.com"
    senders.send(letter("email", settings={"recipients": ["a@example.com", "b@example.com"]}, detail="for 5 minutes"))
    (mail,) = box.mails
    assert mail["From"] == "moolai@example.com"
    assert mail["To"] == "a@example.com, b@example.com"
    assert mail["Subject"] == "[error] Firing: CPU is at 95 %"
    assert mail["Message-ID"] == "<dlv_1@alerts.moolai>"
    assert "for 5 minutes" in str(mail.get_payload())
    assert len(box.recipients[0]) == 2


def test_nobody_smuggles_a_header_into_a_mail(box: Mailbox) -> None:
    senders.send(letter("email", title=NASTY, dedup_key=f"x\r\nBcc: a@b.example{NASTY}"))
    (mail,) = box.mails
    assert mail["Bcc"] is None
    assert len(box.recipients[0]) == 1
    assert "\n" not in mail["Subject"].replace("\n ", " ")


def test_a_channel_may_have_a_server_of_its_own(box: Mailbox, settings: Any) -> None:
    settings.EMAIL_PORT = 1
    own = {"recipients": ["a@example.com"], "sender": "own@example.com"}
    senders.send(letter("email", f"smtp://127.0.0.1:{box.port}", settings=own))
    assert box.mails[0]["From"] == "own@example.com"
    assert box.logins == []


def test_a_password_travels_over_tls_only(box: Mailbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = {"recipients": ["a@example.com"], "username": "me"}
    told = letter("email", f"smtp://localhost:{box.port}", settings=own, secret="hidden", networks=(*LOOPBACK, "::1"))
    with pytest.raises(Refused, match="TLS"):
        senders.send(told)
    assert (box.logins, box.mails) == ([], [])
    path = certificate("localhost", tmp_path)
    box.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    box.context.load_cert_chain(path)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    outgoing.trust.cache_clear()
    try:
        senders.send(told)
    finally:
        outgoing.trust.cache_clear()
    assert len(box.logins) == len(box.mails) == 1


@pytest.mark.parametrize(("words", "kind"), [(b"550 no such user", Refused), (b"451 greylisted", Later)])
def test_a_refusal_of_the_mail_server_is_for_good_only_with_5xx(box: Mailbox, words: bytes, kind: Any) -> None:
    box.refuse = words
    with pytest.raises(kind, match=words[:3].decode()) as problem:
        senders.send(letter("email", f"smtp://127.0.0.1:{box.port}"))
    assert "user" not in str(problem.value)


def test_a_mail_server_that_hangs_is_left_in_time() -> None:
    with receivers.silence() as port:
        told = letter("email", f"smtp://127.0.0.1:{port}")
        began = time.monotonic()
        with pytest.raises(Later):
            senders.send(Letter(**{**fields(told), "until": began + 0.5}))
        assert time.monotonic() - began < 3


def fields(told: Letter) -> dict[str, Any]:
    return {name: getattr(told, name) for name in Letter.__dataclass_fields__}


# --- answers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 413, 301, 302, 304])
def test_an_answer_that_will_not_change_is_for_good(receiver: Receiver, status: int) -> None:
    receiver.behave(status, Location="http://127.0.0.1/")
    with pytest.raises(Refused, match=f"answered {status}"):
        senders.send(letter("webhook", receiver.url(), secret="s" * 20))
    assert len(receiver.refused) == 1


@pytest.mark.parametrize(("status", "may_have_arrived"), [(408, True), (429, False), (500, True), (503, True)])
def test_an_answer_that_passes_is_tried_again(receiver: Receiver, status: int, may_have_arrived: bool) -> None:
    receiver.behave(status, Retry_After="7")
    with pytest.raises(Later) as problem:
        senders.send(letter("slack", receiver.url()))
    assert problem.value.retry_after_seconds == 7
    assert problem.value.may_have_arrived is may_have_arrived


@pytest.mark.parametrize("kind", ["slack", "webhook", "email"])
@pytest.mark.parametrize("url", ["http://169.254.169.254/", "http://127.0.0.1:1/", *REFUSED[:3]])
def test_r22_an_address_inside_is_refused_when_it_is_called_too(kind: str, url: str) -> None:
    url = url.replace("http://", "smtp://") if kind == "email" else url
    with pytest.raises(Refused, match="destination_not_allowed"):
        senders.send(letter(kind, url, networks=(), secret="s" * 20))
