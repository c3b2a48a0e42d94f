"""Paths where nothing is, and static files: what a browser and a program get."""

import warnings
from typing import Any

import pytest
from django.test import AsyncClient, Client
from django.urls import reverse

import moolai.urls  # noqa: F401  (the console's forms warn when they are first loaded)
from orgs.models import User

PAGE = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"


def test_a_person_gets_a_page_without_a_query(client: Client) -> None:
    answer = client.get("/nowhere", headers={"Accept": PAGE})
    assert answer.status_code == 404
    assert answer["Content-Type"].startswith("text/html")
    assert "There is nothing at this path" in answer.content.decode()
    assert "style-src 'self'" in answer["Content-Security-Policy"]
    assert "script" not in answer["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("path", "accept"), [("/nowhere", "application/json"), ("/nowhere", "*/*"), ("/api/v1/nowhere", PAGE)]
)
def test_a_program_gets_the_error_object(client: Client, path: str, accept: str) -> None:
    answer = client.get(path, headers={"Accept": accept})
    assert (answer.status_code, answer.json()["error"]) == (404, "not_found")


@pytest.mark.django_db
def test_a_person_who_is_refused_reads_what_to_do_and_a_program_the_error_object(client: Client, settings: Any) -> None:
    def told(path: str, *, method: str = "get", by: Client = client, **headers: str) -> Any:
        return by.generic(method.upper(), path, headers={"Accept": PAGE, **headers})

    client.force_login(User.objects.create_superuser("root"))
    add = reverse("admin:orgs_auditentry_add")  # a list to look at
    answer = told(add)
    assert (answer.status_code, "This cannot be done here" in answer.content.decode()) == (403, True)
    assert told(add, Accept="application/json").json()["error"] == "forbidden"
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(User.objects.get(username="root"))
    answer = told("/admin/orgs/user/add/", method="post", by=strict)
    assert (answer.status_code, "This form is too old" in answer.content.decode()) == (403, True)
    assert told("/admin/orgs/user/add/", method="post", by=strict, Accept="*/*").json()["error"] == "csrf_failed"
    member = User.objects.create_user("mia", is_staff=True)
    client.force_login(member)
    answer = told("/admin/")
    assert (answer.status_code, "Only superadmins use the console" in answer.content.decode()) == (403, True)
    assert 'href="/admin/login/?next=/admin/"' in answer.content.decode()
    bare = reverse("admin:llm_gateway_call_playground")
    assert "Only superadmins use the console" in told(bare).content.decode()
    assert told(bare, Accept="*/*").content == b""
    settings.ADMIN_ALLOWED_CIDRS = ["10.0.0.0/8"]
    answer = told("/admin/")
    assert (answer.status_code, "ADMIN_ALLOWED_CIDRS" in answer.content.decode()) == (403, True)
    assert "style-src 'self'" in answer["Content-Security-Policy"]


def test_the_console_is_found_without_its_slash(client: Client) -> None:
    answer = client.get("/admin")
    assert (answer.status_code, answer["Location"]) == (301, "/admin/")


@pytest.mark.django_db  # a finished request looks at open connections
async def test_static_files_come_whole_and_without_a_warning() -> None:
    client = AsyncClient()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole = await client.get("/static/moolai/mark.svg")
        part = await client.get("/static/moolai/mark.svg", headers={"Range": "bytes=0-3"})
        etag = whole["Last-Modified"]
        unchanged = await client.get("/static/moolai/mark.svg", headers={"If-Modified-Since": etag})
    assert (whole.status_code, whole["Content-Type"], whole.content[:4]) == (200, "image/svg+xml", b"<svg")
    assert int(whole["Content-Length"]) == len(whole.content)
    assert (part.status_code, part.content) == (206, b"<svg")
    assert (unchanged.status_code, unchanged.content) == (304, b"")
