"""The console from outside: which networks reach it, how long a session lasts, what its cookies and forms carry."""

import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.contrib import admin
from django.contrib.admin import ModelAdmin
from django.db.models import Model
from django.test import Client, RequestFactory
from django.urls import reverse

from moolai import networks
from moolai.testing.product import ServerProcess
from orgs.models import AuditEntry, User
from tests.test_checks import SAFE, manage

pytestmark = pytest.mark.once

INSIDE = ["10.0.0.0/8", "192.168.7.5", "2001:db8::/32"]


@pytest.mark.parametrize(
    ("address", "is_allowed"),
    [
        ("10.1.2.3", True),
        ("192.168.7.5", True),
        ("::ffff:10.1.2.3", True),
        ("2001:db8::7", True),
        ("192.168.7.6", False),
        ("11.0.0.1", False),
        ("::1", False),
        ("", False),
        ("unix:", False),
        ("10.1.2.3, 10.1.2.4", False),
        ("010.1.2.3", False),
    ],
)
def test_an_address_is_inside_or_not(address: str, is_allowed: bool) -> None:
    assert networks.is_allowed(address, INSIDE) is is_allowed
    assert networks.is_allowed(address, []) is True


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/admin", "/admin/", "/admin/login/", "/admin/orgs/user/", "/admin/nothing/here"])
def test_outside_the_networks_the_console_is_closed_also_with_a_session(
    client: Client, settings: Any, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    client.force_login(User.objects.create_superuser("root", password="correct horse battery"))
    settings.ADMIN_ALLOWED_CIDRS = INSIDE
    headers = {"X-Forwarded-For": "10.1.2.3", "X-Real-IP": "10.1.2.3", "Forwarded": "for=10.1.2.3"}
    for method in (client.get, client.post):
        answer = method(path, REMOTE_ADDR="203.0.113.9", headers=headers)
        assert (answer.status_code, answer.json()["error"]) == (403, "forbidden")
    assert f"denied GET {path}" in caplog.text
    assert client.get(path, REMOTE_ADDR="10.1.2.3").status_code in (200, 301, 302, 404)


@pytest.mark.django_db
def test_the_networks_close_nothing_else(client: Client, settings: Any) -> None:
    settings.ADMIN_ALLOWED_CIDRS = INSIDE
    assert client.get("/healthz", REMOTE_ADDR="203.0.113.9").status_code == 200
    assert client.get("/administration", REMOTE_ADDR="203.0.113.9").status_code == 404


@pytest.mark.parametrize("wrong", ["10.0.0.0/33", "10.0.0.5/8", "office", "10.0.0.0/8;10.1.0.0/16"])
def test_an_unreadable_network_stops_the_start(tmp_path: Path, wrong: str) -> None:
    done = manage(tmp_path, "check", ADMIN_ALLOWED_CIDRS=f"192.168.0.0/16,{wrong}")
    lines = [line for line in done.stderr.splitlines() if "moolai.E006" in line]
    assert done.returncode != 0
    assert len(lines) == 1
    assert "ADMIN_ALLOWED_CIDRS must name networks such as 10.0.0.0/8" in lines[0]
    assert wrong in lines[0]


@pytest.mark.services
def test_behind_a_trusted_proxy_the_clients_own_address_counts(web: Callable[..., ServerProcess]) -> None:
    server = web({"ADMIN_ALLOWED_CIDRS": "203.0.113.0/24", "TRUSTED_PROXIES": "127.0.0.1"})

    def status(forwarded: str) -> int:
        call = urllib.request.Request(server.url("/admin/login/"), headers={"X-Forwarded-For": forwarded})
        try:
            with urllib.request.urlopen(call, timeout=10) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    assert status("203.0.113.9") == 200
    assert status("198.51.100.1") == 403
    assert status("203.0.113.9, 198.51.100.1") == 403, "only the proxy's own word counts"


def test_a_session_lasts_eight_hours_and_is_not_prolonged() -> None:
    assert django_settings.SESSION_COOKIE_AGE == 8 * 3600
    assert django_settings.SESSION_SAVE_EVERY_REQUEST is False


@pytest.mark.django_db
def test_an_old_session_is_signed_out(client: Client, settings: Any) -> None:
    settings.SESSION_COOKIE_AGE = -1
    client.force_login(User.objects.create_superuser("root", password="correct horse battery"))
    client.cookies[settings.SESSION_COOKIE_NAME]["max-age"] = ""
    answer = client.get("/admin/")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/admin/login/?next=/admin/")


@pytest.mark.django_db
def test_the_trail_has_neither_form_nor_delete_for_a_superadmin() -> None:
    request = RequestFactory().get("/admin/")
    request.user = User.objects.create_superuser("root", password="correct horse battery")
    page: ModelAdmin[Model] = admin.site._registry[AuditEntry]
    assert page.has_view_permission(request)
    assert not page.has_add_permission(request)
    assert not page.has_change_permission(request)
    assert not page.has_delete_permission(request)
    assert "delete_selected" not in page.get_actions(request)


@pytest.mark.django_db
def test_every_page_of_the_console_sends_a_stranger_to_sign_in() -> None:
    for model in admin.site._registry:
        options = model._meta
        for page in ("changelist", "add"):
            answer = Client().get(reverse(f"admin:{options.app_label}_{options.model_name}_{page}"))
            assert answer.status_code == 302, (options, page)
            assert answer.headers["Location"].startswith("/admin/login/")


@pytest.mark.parametrize(("seconds", "fits"), [("900", True), ("901", False), ("0", False)])
def test_access_tokens_live_for_a_quarter_of_an_hour_at_most(tmp_path: Path, seconds: str, fits: bool) -> None:
    done = manage(tmp_path, "check", **SAFE, ACCESS_TOKEN_SEC=seconds)
    assert (done.returncode == 0) is fits
    assert fits or "ACCESS_TOKEN_SEC must lie between 1 and 900" in done.stderr
