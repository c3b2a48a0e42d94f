"""The console's pages of channels and allowed networks: made, tried, changed and deleted; secrets are never shown."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client

from monitoring.alerts import channels
from monitoring.models import Channel, Delivery
from monitoring.tests import receivers
from monitoring.tests.receivers import Receiver
from orgs import sealed
from orgs.models import AllowedNetwork, Organization

pytestmark = [pytest.mark.once, pytest.mark.django_db]
LIST = "/admin/monitoring/channel/"
SECRET = "a long secret of mine"


@pytest.fixture
def console(console: Client, settings: Any) -> Client:
    settings.OUTBOUND_ALLOWED_CIDRS = ["127.0.0.0/8"]
    return console


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receivers.http() as found:
        yield found


@pytest.fixture
def hook(console: Client, acme: Organization, receiver: Receiver) -> Channel:
    return channels.create(
        acme, kind="webhook", name="hook", url=receiver.url("/hidden"), secret=SECRET, acting_user=None
    )[0]


def page(row: Channel) -> str:
    return f"{LIST}{row.pk}/change/"


def post(console: Client, page: str, /, **data: Any) -> Any:
    given = {"name": "ops", "min_severity": "warning", "is_enabled": "on", **data}
    return console.post(page, {name: value for name, value in given.items() if value is not None}, follow=True)


def test_a_webhook_is_made_and_its_secret_is_shown_once(console: Client, acme: Organization) -> None:
    answer = post(console, f"{LIST}add/", kind="webhook", organization="acme", url="http://127.0.0.1:9/hidden")
    row = Channel.objects.get()
    secret = sealed.read(row, "secret")
    assert secret in answer.content.decode()
    for url in (LIST, page(row)):
        text = console.get(url).content.decode()
        assert secret not in text
        assert "/hidden" not in text
    assert "http://127.0.0.1:9/***" in console.get(page(row)).content.decode()


def test_a_channel_without_an_organization_is_for_all(console: Client) -> None:
    post(console, f"{LIST}add/", kind="email", recipients="a@example.com\nb@example.com, c@example.com")
    row = Channel.objects.get()
    assert row.organization is None
    assert row.settings == {"recipients": ["a@example.com", "b@example.com", "c@example.com"]}
    assert "all organizations" in console.get(LIST).content.decode()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"kind": "slack", "url": "http://169.254.169.254/"}, "lies inside the network"),
        ({"kind": "slack"}, "Give the address of the incoming webhook."),
        ({"kind": "email", "recipients": "nobody"}, "is no e-mail address"),
        ({"kind": "pagerduty", "secret": "short"}, "Give the integration key"),
    ],
)
def test_what_is_refused_is_said_on_the_form_and_what_was_written_stays(
    console: Client, data: dict[str, str], words: str
) -> None:
    text = post(console, f"{LIST}add/", **data).content.decode()
    assert words in text
    assert 'value="ops"' in text
    assert Channel.objects.count() == 0


def test_a_channel_is_changed_without_writing_its_secret_again(console: Client, hook: Channel) -> None:
    text = console.get(page(hook)).content.decode()
    assert SECRET not in text
    post(console, page(hook), name="other", url=f"http://127.0.0.1:{hook_port(hook)}/***", secret="")
    hook.refresh_from_db()
    assert hook.name == "other"
    assert sealed.read(hook, "secret") == SECRET
    assert sealed.read(hook, "url").endswith("/hidden")


def hook_port(row: Channel) -> str:
    return str(sealed.read(row, "url")).split(":")[2].split("/")[0]


def test_another_address_makes_another_secret(console: Client, hook: Channel) -> None:
    answer = post(console, page(hook), url="http://127.0.0.1:9/", secret="")
    hook.refresh_from_db()
    assert sealed.read(hook, "secret") != SECRET
    assert sealed.read(hook, "secret") in answer.content.decode()


def test_the_test_button_sends_and_says_what_became_of_it(console: Client, hook: Channel, receiver: Receiver) -> None:
    answer = console.post(f"{LIST}{hook.pk}/test/", follow=True)
    assert "was delivered in" in answer.content.decode()
    assert len(receiver.taken) == 1
    receiver.behave(500)
    answer = console.post(f"{LIST}{hook.pk}/test/", follow=True)
    assert "was not delivered: answered 500" in answer.content.decode()
    assert "Failing" in console.get(LIST).content.decode()
    assert console.get(f"{LIST}{hook.pk}/test/").status_code == 405


def test_the_page_shows_what_the_channel_was_told(console: Client, hook: Channel) -> None:
    Delivery.objects.create(
        channel=hook, alert_id="alr_1", dedup_key="cpu", action="trigger", notice={"title": "<b>CPU</b> is high"},
        status="failed", error="answered 410", attempts=3, created_at=hook.created_at,
        next_attempt_at=hook.created_at, expires_at=hook.created_at, finished_at=hook.created_at,
    )  # fmt: skip
    text = console.get(page(hook)).content.decode()
    assert "&lt;b&gt;CPU&lt;/b&gt; is high" in text
    assert "answered 410" in text
    assert "3 attempts" in text


def test_a_channel_is_deleted(console: Client, hook: Channel) -> None:
    console.post(f"{LIST}{hook.pk}/delete/", {"post": "yes"})
    assert Channel.objects.count() == 0


def test_a_network_is_allowed_and_refused(console: Client, acme: Organization) -> None:
    networks = "/admin/orgs/allowednetwork/"
    console.post(f"{networks}add/", {"organization": "acme", "cidr": "10.1.0.0/16", "reason": "vLLM"})
    row = AllowedNetwork.objects.get()
    assert (row.cidr, row.created_by) == ("10.1.0.0/16", "root")
    assert "vLLM" in console.get(networks).content.decode()
    assert "10.1.0.0/16" in console.get(f"{networks}{row.pk}/change/").content.decode()
    answer = console.post(f"{networks}add/", {"organization": "acme", "cidr": "10.1.0.1/16"})
    assert "Write a network such as" in answer.content.decode()
    console.post(f"{networks}{row.pk}/delete/", {"post": "yes"})
    assert AllowedNetwork.objects.count() == 0
