"""Channels over HTTP: who may make which, what goes in and never comes out, and that an address is checked."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from monitoring.models import Channel
from monitoring.tests import receivers
from monitoring.tests.receivers import Receiver
from orgs import networks, rotation, sealed, vault
from orgs.models import AuditEntry, Organization
from orgs.tests import cast as casts
from orgs.tests.cast import Cast
from orgs.tests.test_destinations import REFUSED

pytestmark = pytest.mark.django_db
URL = "/api/v1/system/channels"
HOOK = {"organization_id": "org-001", "kind": "webhook", "name": "ops", "secret": "a long secret of mine"}


@pytest.fixture
def cast(db: None, settings: Any) -> Cast:
    settings.OUTBOUND_ALLOWED_CIDRS = ["127.0.0.0/8"]
    return casts.make(settings)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receivers.http() as found:
        yield found


def data(answer: Any, status: int = 200) -> Any:
    assert answer.status_code == status, answer.content
    return json.loads(answer.content)["data"]


def error(answer: Any) -> tuple[int, str]:
    return answer.status_code, json.loads(answer.content)["error"]


def make(cast: Cast, **wish: Any) -> Any:
    return data(cast.alice.call("POST", URL, {**HOOK, "url": "http://127.0.0.1:9/secret/path?t=1", **wish}), 201)


# --- made, read, changed, deleted ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "slack", "url": "http://127.0.0.1:9/services/T/B/x"},
        {"kind": "email", "recipients": ["ops@example.com"]},
        {
            "kind": "email",
            "recipients": ["ops@example.com"],
            "url": "smtps://127.0.0.1",
            "username": "me",
            "secret": "x",
        },
        {"kind": "pagerduty", "secret": "R" * 32},
        {"kind": "webhook", "url": "http://127.0.0.1:9/hook"},
    ],
    ids=lambda body: body["kind"],
)
def test_an_administrator_makes_a_channel_of_each_kind(cast: Cast, body: Any) -> None:
    made = data(cast.alice.call("POST", URL, {"organization_id": "org-001", "name": "ops", **body}), 201)
    assert made["organization_id"] == "org-001"
    assert made["min_severity"] == "warning"
    assert [row["channel_id"] for row in data(cast.vera.get(URL))["items"]] == [made["channel_id"]]
    assert data(cast.vera.get(f"{URL}/{made['channel_id']}"))["kind"] == body["kind"]
    assert error(cast.charlie.get(f"{URL}/{made['channel_id']}")) == (404, "not_found")
    assert AuditEntry.objects.filter(action="channel.create", target_id=made["channel_id"]).count() == 1


def test_secrets_go_in_and_never_come_out(cast: Cast) -> None:
    made = make(cast)
    shown = cast.alice.get(f"{URL}/{made['channel_id']}").content.decode()
    told = json.dumps(list(AuditEntry.objects.values("before", "after")))
    for text in (json.dumps(made), shown, told):
        assert "path" not in text
        assert HOOK["secret"] not in text
    assert made["url"] == "http://127.0.0.1:9/***"
    assert made["has_secret"] is True
    row = Channel.objects.get()
    assert vault.is_sealed(row.url)
    assert vault.is_sealed(row.secret)


def test_a_webhook_without_a_secret_gets_one_which_is_shown_once(cast: Cast) -> None:
    made = make(cast, secret="")
    assert made["secret"].startswith("whsec_")
    assert sealed.read(Channel.objects.get(), "secret") == made["secret"]
    assert "secret" not in data(cast.alice.get(f"{URL}/{made['channel_id']}"))


def test_another_address_clears_the_secret(cast: Cast) -> None:
    made = make(cast)
    url = f"{URL}/{made['channel_id']}"
    changed = data(cast.alice.call("PATCH", url, {"url": "http://127.0.0.1:10/"}))
    assert changed["secret"].startswith("whsec_")
    assert sealed.read(Channel.objects.get(), "secret") == changed["secret"]
    mail = {"kind": "email", "recipients": ["a@b.example"], "url": "smtp://127.0.0.1", "username": "u", "secret": "p"}
    own = data(cast.alice.call("POST", URL, {"organization_id": "org-001", "name": "mail", **mail}), 201)
    moved = data(cast.alice.call("PATCH", f"{URL}/{own['channel_id']}", {"url": "smtp://127.0.0.2"}))
    assert moved["has_secret"] is False


def test_what_was_shown_masked_may_be_sent_back_and_changes_nothing(cast: Cast) -> None:
    made = make(cast)
    url = f"{URL}/{made['channel_id']}"
    before = AuditEntry.objects.count()
    data(cast.alice.call("PATCH", url, {"url": made["url"], "name": "ops"}))
    assert AuditEntry.objects.count() == before
    assert sealed.read(Channel.objects.get(), "secret") == HOOK["secret"]
    assert error(cast.alice.call("PATCH", url, {"url": "http://127.0.0.2:9/***"})) == (400, "invalid_field")


def test_a_channel_is_changed_and_deleted_with_an_audit_row_each(cast: Cast) -> None:
    made = make(cast)
    url = f"{URL}/{made['channel_id']}"
    changed = data(cast.alice.call("PATCH", url, {"min_severity": "critical", "is_enabled": False}))
    assert (changed["min_severity"], changed["is_enabled"]) == ("critical", False)
    assert cast.alice.call("DELETE", url).status_code == 204
    assert error(cast.alice.get(url)) == (404, "not_found")
    entry = AuditEntry.objects.get(action="channel.update")
    assert (entry.before, entry.after) == (
        {"min_severity": "warning", "is_enabled": True}, {"min_severity": "critical", "is_enabled": False},
    )  # fmt: skip
    assert AuditEntry.objects.filter(action="channel.delete").count() == 1


def test_only_superadmins_make_and_see_channels_for_all(cast: Cast) -> None:
    body = {"kind": "email", "name": "everything", "recipients": ["root@example.com"]}
    assert error(cast.alice.call("POST", URL, body)) == (403, "forbidden")
    made = data(cast.root.call("POST", URL, body), 201)
    assert made["organization_id"] is None
    assert data(cast.alice.get(URL))["items"] == []
    assert error(cast.alice.get(f"{URL}/{made['channel_id']}")) == (404, "not_found")
    assert len(data(cast.root.get(URL))["items"]) == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"kind": "fax"}, "kind"),
        ({"kind": "slack"}, "url"),
        ({"kind": "slack", "url": "http://127.0.0.1/", "secret": "x"}, "secret"),
        ({"kind": "pagerduty", "secret": "short"}, "secret"),
        ({"kind": "pagerduty"}, "secret"),
        ({"kind": "email"}, "recipients"),
        ({"kind": "email", "recipients": []}, "recipients"),
        ({"kind": "email", "recipients": ["a@b.example\r\nBcc: c@d.example"]}, "recipients.0"),
        ({"kind": "email", "recipients": ["a@b.example"], "secret": "x"}, "url"),
        ({"kind": "webhook"}, "url"),
        ({"kind": "webhook", "url": "http://127.0.0.1/", "secret": "short"}, "secret"),
        ({"kind": "webhook", "url": "http://127.0.0.1/", "recipients": ["a@b.example"]}, "recipients"),
        ({"kind": "webhook", "url": "http://127.0.0.1/", "min_severity": "fatal"}, "min_severity"),
    ],
)
def test_what_does_not_fit_the_kind_is_refused_by_name(cast: Cast, change: Any, field: str) -> None:
    answer = cast.alice.call("POST", URL, {"organization_id": "org-001", "name": "ops", **change})
    assert error(answer) == (400, "invalid_field")
    assert field in json.loads(answer.content)["fields"]
    assert Channel.objects.count() == 0


# --- the address -----------------------------------------------------------------------------------------------------


@pytest.mark.once
@pytest.mark.parametrize("kind", ["slack", "webhook"])
def test_r22_an_address_inside_is_refused_when_it_is_saved_and_when_it_is_changed(
    cast: Cast, settings: Any, kind: str
) -> None:
    made = make(cast, kind=kind, secret="") if kind == "webhook" else None
    settings.OUTBOUND_ALLOWED_CIDRS = []
    for url in [url for url in REFUSED if url]:
        body = {"organization_id": "org-001", "kind": kind, "name": "ops", "url": url}
        assert cast.alice.call("POST", URL, body).status_code == 400, url
        if made and len(url) <= 2000 and url.strip():
            assert cast.alice.call("PATCH", f"{URL}/{made['channel_id']}", {"url": url}).status_code == 400, url
    answer = cast.alice.call("POST", URL, {**HOOK, "url": "http://169.254.169.254/"})
    assert error(answer) == (400, "destination_not_allowed")


def test_a_superadmin_allows_a_network_for_one_organization(cast: Cast, settings: Any) -> None:
    settings.OUTBOUND_ALLOWED_CIDRS = []
    body = {**HOOK, "url": "http://10.1.2.3:8080/hook"}
    assert error(cast.alice.call("POST", URL, body)) == (400, "destination_not_allowed")
    networks.allow(Organization.objects.get(pk="org-001"), "10.1.0.0/16", acting_user=None)
    data(cast.alice.call("POST", URL, body), 201)
    assert error(cast.charlie.call("POST", URL, {**body, "organization_id": "org-002"}))[1] == "destination_not_allowed"


# --- trying ----------------------------------------------------------------------------------------------------------


def test_a_channel_is_tried_and_the_result_is_shown_without_the_receivers_words(cast: Cast, receiver: Receiver) -> None:
    made = make(cast, url=receiver.url("/x"))
    url = f"{URL}/{made['channel_id']}"
    assert data(cast.alice.call("POST", f"{url}/test", {}))["is_delivered"] is True
    assert "Test notification" in receiver.taken[0].body["alert"]["title"]
    assert data(cast.alice.get(url))["last_ok_at"] is not None
    receiver.behave(403)
    trial = data(cast.alice.call("POST", f"{url}/test", {}))
    assert (trial["is_delivered"], trial["error"]) == (False, "answered 403")
    assert data(cast.vera.get(url))["last_error"] == "answered 403"
    assert AuditEntry.objects.filter(action="channel.test").count() == 2


def test_a_test_of_pagerduty_leaves_no_incident_open(cast: Cast, receiver: Receiver, settings: Any) -> None:
    settings.PAGERDUTY_BASE_URL = receiver.url("")
    body = {"organization_id": "org-001", "kind": "pagerduty", "name": "duty", "secret": "R" * 32}
    made = data(cast.alice.call("POST", URL, body), 201)
    assert data(cast.alice.call("POST", f"{URL}/{made['channel_id']}/test", {}))["is_delivered"] is True
    assert list(receiver.keys().values()) == [["trigger", "resolve"]]


# --- keys ------------------------------------------------------------------------------------------------------------


def test_a_new_encryption_key_seals_channels_anew(cast: Cast, settings: Any) -> None:
    make(cast)
    settings.ENCRYPTION_KEY = f"{'another-key-' * 4},{settings.ENCRYPTION_KEY}"
    assert rotation.rotate(lambda line: None) >= 1
    settings.ENCRYPTION_KEY = settings.ENCRYPTION_KEY.partition(",")[0]
    row = Channel.objects.get()
    assert sealed.read(row, "secret") == HOOK["secret"]
    assert sealed.read(row, "url").endswith("/secret/path?t=1")
    assert rotation.survey().problems == []
