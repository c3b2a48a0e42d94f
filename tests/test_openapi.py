"""The OpenAPI document has every call of the API and no other; its two doors; an API path in a browser."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml
from django.core.management import call_command
from django.test import Client
from django.urls import URLPattern, resolve
from drf_spectacular import validation

from llm_gateway.plane import app
from moolai.console import navigation
from moolai.errors import CODES
from moolai.openapi import gateway, naming
from moolai.openapi.document import document
from moolai.urls import urlpatterns
from orgs import operations, organizations, rest, users
from orgs.browsable import coloured
from orgs.operations import Parameter
from orgs.tests import cast as casts
from orgs.tests.cast import Cast

pytestmark = pytest.mark.once

HTML = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
FLEET = "/api/v1/controller/orchestrators"
SPECIFICATION = Path(validation.__file__).parent / "openapi_3_1_schema.json"
OPENAPI = jsonschema_rs.validator_for(json.loads(SPECIFICATION.read_text()))  # in Python it takes a quarter of a minute
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C, where there is the library
ALL = [(method.upper(), path, call) for path, calls in document()["paths"].items() for method, call in calls.items()]
CALLS = [call for call in ALL if call[1] not in gateway.PATHS]  # Django serves these


@pytest.fixture
def cast(db: None, settings: Any) -> Cast:
    return casts.make(settings)


@pytest.fixture
def browser(cast: Cast) -> Client:
    """A superadmin's browser, signed in to the console, that checks CSRF tokens."""
    from orgs.models import User

    client = Client(enforce_csrf_checks=True, headers={"Accept": HTML})
    client.force_login(User.objects.create_superuser("boss", password="long enough for this"))
    return client


def routes() -> Iterator[tuple[str, type[rest.View]]]:
    """Yield every route of ours that is a DRF view, as the document writes it."""
    for pattern in urlpatterns:
        view = getattr(getattr(pattern, "callback", None), "view_class", None)
        if isinstance(pattern, URLPattern) and view is not None and issubclass(view, rest.View):
            path = re.sub(r"\(\?P<(\w+)>[^()]*\)", r"{\1}", str(pattern.pattern)).lstrip("^").removesuffix("/?$")
            yield naming.written(f"/{path}"), view


# --- what is in the document ------------------------------------------------------------------------------------------


def test_every_route_and_method_is_described() -> None:
    described = {(method, path.rstrip("/")) for method, path, _ in ALL}
    expected = {
        (method, path)
        for path, view in routes()
        for method in view().allowed_methods
        if method != "HEAD" and view.schema is not None
    }
    assert len(expected) > 20
    assert expected <= described
    plane = {(method.upper(), path) for path, calls in gateway.PATHS.items() for method in calls}
    assert {app.route(path.replace("{id}", "x")) for _, path in plane} == {*app.SURFACES, *app.READS, "/v1/models/{id}"}
    assert described - expected == {("GET", "/health"), ("GET", "/healthz"), ("GET", "/readyz")} | plane


def test_every_method_says_what_it_takes_and_answers() -> None:
    without = [
        f"{method} {path}"
        for path, view in routes()
        for method in view().allowed_methods
        if method != "HEAD" and operations.of(view, method) is None
    ]
    assert without == []


@pytest.mark.parametrize("path", [path for path in document()["paths"] if path not in gateway.PATHS])
def test_every_described_path_resolves_with_and_without_its_slash(path: str) -> None:
    there = re.sub(r"\{\w+\}", "1", path).rstrip("/")
    assert resolve(there).func == resolve(f"{there}/").func
    assert path == "/api/schema/" or not path.endswith("/")


def test_the_document_is_valid_openapi_3_1_without_a_warning(tmp_path: Any) -> None:
    target = tmp_path / "openapi.json"
    call_command("spectacular", "--fail-on-warn", "--format", "openapi-json", "--file", str(target))
    made = json.loads(target.read_text())
    assert made["openapi"] == "3.1.0"
    assert made == json.loads(json.dumps(document()))
    OPENAPI.validate(made)


@pytest.mark.parametrize(
    "wrong",
    [{"openapi": "3.0.0"}, {"info": {}}, {"paths": {"health": {}}},
     {"paths": {"/health": {"get": {"responses": {"200": {"content": {}}}}}}}],
)  # fmt: skip
def test_a_document_that_is_wrong_is_not_valid(wrong: dict[str, Any]) -> None:
    made = json.loads(json.dumps(document()))
    assert OPENAPI.is_valid(made)
    assert not OPENAPI.is_valid({**made, **wrong})


def test_every_reference_leads_somewhere() -> None:
    text = json.dumps(document())
    for kind, name in set(re.findall(r'"#/components/(\w+)/([\w.]+)"', text)):
        assert name in document()["components"][kind]
    assert not re.search(r"§|x-spec", text)


def test_names_of_calls_are_readable_and_given_once() -> None:
    names = [call["operationId"] for _, _, call in CALLS]
    assert len(names) == len(set(names))
    assert {"orchestrators_list", "auth_login", "organization_api_keys_rotate", "organization_users_destroy"} <= {
        *names
    }
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", name) for name in names)
    assert all(call["summary"] and len(call["tags"]) == 1 for _, _, call in CALLS)


@pytest.mark.parametrize(("method", "path", "call"), CALLS)
def test_every_error_is_the_one_object_with_the_codes_of_its_status(method: str, path: str, call: Any) -> None:
    for status, answer in call["responses"].items():
        assert "X-Request-ID" in answer["headers"]
        if int(status) < 400 or path in ("/health", "/healthz", "/readyz"):
            continue
        content = answer["content"]["application/json"]
        reference, narrowed = content["schema"]["allOf"]
        words = narrowed["properties"]["error"]["enum"]
        assert reference == {"$ref": "#/components/schemas/Error"}
        assert all(CODES[word][0] == int(status) for word in words)
        assert {word: example["value"]["error"] for word, example in content["examples"].items()} == dict(
            zip(words, words, strict=True)
        )
        assert ("WWW-Authenticate" in answer["headers"]) is (status == "401")
        assert ("Retry-After" in answer["headers"]) is (status in ("429", "503"))


def test_a_call_names_its_own_codes_its_headers_and_who_may_make_it() -> None:
    made = document()["paths"][naming.written("/api/v1/controller/organizations")]["post"]
    assert "conflict" in made["responses"]["409"]["content"]["application/json"]["examples"]
    assert {"$ref": "#/components/parameters/IdempotencyKey"} in made["parameters"]
    assert {"$ref": "#/components/parameters/OrganizationId"} in made["parameters"]
    assert "security" not in made
    assert document()["security"] == [{"bearer": []}, {"apiKey": []}, {"session": []}]
    login = document()["paths"]["/api/v1/internal/auth/login"]["post"]
    assert login["security"] == []
    assert {"invalid_login"} == {*login["responses"]["401"]["content"]["application/json"]["examples"]}
    assert "403" not in login["responses"]
    for path in ("/api/v1/controller/health", "/metrics"):
        assert document()["paths"][path]["get"]["security"] == [{}, *document()["security"]], "public, also without"


def test_a_configuration_is_written_with_if_match_and_answered_with_its_etag() -> None:
    config = document()["paths"]["/api/v1/orchestrators/{organization_id}/config"]
    is_told = {"$ref": "#/components/parameters/IfMatch"}
    assert is_told in config["put"]["parameters"]
    assert is_told not in config["get"]["parameters"]
    for call in config.values():
        assert "ETag" in call["responses"]["200"]["headers"]


def test_a_page_size_beyond_the_most_is_valid_and_means_the_most(cast: Cast) -> None:
    listing = document()["paths"][FLEET]["get"]
    size = next(part for part in listing["parameters"] if part.get("name") == "page_size")
    assert size["schema"] == {"type": "integer", "minimum": 1, "default": 100}
    assert "1000" in size["description"]
    assert cast.root.get(f"{FLEET}?page_size=5000").json()["data"]["page_size"] == 1000


def test_a_body_takes_no_unknown_field_and_may_be_left_out_only_where_it_may() -> None:
    rotate = document()["paths"]["/api/v1/orchestrators/{organization_id}/api-keys/{id}/rotate"]["post"]["requestBody"]
    make = document()["paths"]["/api/v1/orchestrators/{organization_id}/api-keys"]["post"]["requestBody"]
    assert (rotate["required"], make["required"]) == (False, True)
    schemas = document()["components"]["schemas"]
    assert schemas["NewApiKeyRequest"]["additionalProperties"] is False
    assert schemas["NewApiKeyRequest"]["required"] == ["name"]
    assert set(schemas["ApiKeyRow"]["required"]) == set(schemas["ApiKeyRow"]["properties"])


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/api/v1/controller/orchestrators/{orchestrator_id}", "/api/v1/controller/orchestrators/{id}"),
        ("/api/v1/internal/messages/{pk}/status", "/api/v1/internal/messages/{id}/status"),
        ("/api/v1/orchestrators/{organization_id}/users", "/api/v1/orchestrators/{organization_id}/users"),
        (
            "/api/v1/orchestrators/{organization_id}/tasks/{task_id}",
            "/api/v1/orchestrators/{organization_id}/tasks/{id}",
        ),
        ("/api/v1/controller/export/{job_id}/download", "/api/v1/controller/export/{job_id}/download"),
        (
            "/api/v1/system/metrics/organization/{organization_id}/latest",
            "/api/v1/system/metrics/organization/{org}/latest",
        ),
    ],
)
def test_identifiers_are_called_what_people_call_them(path: str, expected: str) -> None:
    assert naming.written(path) == expected


# --- the doors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/api/schema/", "/api/schema", "/api/docs/", "/api/docs"])
def test_neither_door_is_public(cast: Cast, path: str) -> None:
    refused = cast.nobody.get(path)
    assert (refused.status_code, refused.json()["error"]) == (401, "unauthenticated")
    assert refused["WWW-Authenticate"]
    wrong = cast.mallory.get(path, Accept=HTML)
    assert (wrong.status_code, wrong["Content-Type"]) == (401, "application/json")
    sent = cast.nobody.get(f"{path}?x=1", Accept=HTML)
    assert (sent.status_code, sent["Location"]) == (302, f"/admin/login/?next={path}%3Fx%3D1")
    assert cast.nobody.call("POST", path, {}, Accept=HTML).status_code == 401


@pytest.mark.parametrize("name", ["root", "vera", "machine"])
def test_any_credential_reads_the_document(cast: Cast, name: str) -> None:
    answer = getattr(cast, name).get("/api/schema/")
    assert (answer.status_code, answer["Content-Type"]) == (200, "application/json")
    assert answer.json() == json.loads(json.dumps(document()))


def test_the_document_is_yaml_for_who_asks(cast: Cast) -> None:
    asked = [("?format=yaml", "*/*"), ("", "application/yaml"), ("", "application/vnd.oai.openapi")]
    answers = [cast.vera.get(f"/api/schema/{query}", Accept=accept) for query, accept in asked]
    assert {answer["Content-Type"] for answer in answers} == {"application/yaml"}
    [text] = {answer.content for answer in answers}
    assert yaml.load(text, Loader=LOADER) == json.loads(json.dumps(document()))
    assert cast.vera.get("/api/schema/?format=xml").json()["error"] == "invalid_parameter"


def test_swagger_ui_loads_nothing_from_elsewhere_and_no_inline_script(browser: Client) -> None:
    page = browser.get("/api/docs/")
    text = page.content.decode()
    policy = page["Content-Security-Policy"]
    assert page.status_code == 200
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert "//" not in text.replace("<!doctype", "")
    assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|\sstyle=", text)
    for address in re.findall(r'(?:src|href)="(/static/[^"]+)"', text):
        assert Client().get(address).status_code == 200, address


def test_a_program_learns_where_the_docs_are(client: Client, settings: Any) -> None:
    body = client.get("/", headers={"Accept": "application/json"}).json()
    assert body == {"name": "moolai", "docs": "/api/docs/", "console": "/admin/"}


def test_the_console_leads_to_the_docs(rf: Any) -> None:
    links = [item["link"] for group in navigation.sidebar(rf.get("/admin/")) for item in group["items"]]
    assert "/api/docs/" in links


# --- the page at an API path ----------------------------------------------------------------------------------------


def test_a_browser_with_a_session_sees_a_page_and_a_program_never(browser: Client, cast: Cast) -> None:
    answer: Any = browser.get(FLEET)
    assert (answer.status_code, answer["Content-Type"]) == (200, "text/html; charset=utf-8")
    text = answer.content.decode()
    assert "List the fleet by id" in text
    assert "total_items" in text
    assert 'href="/api/docs/"' in text
    assert "unsafe" not in answer["Content-Security-Policy"]
    assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|\sstyle=|//[a-z]", text)
    assert cast.vera.get(FLEET, Accept=HTML)["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    "accept",
    ["*/*", "application/json", "", "text/plain", "application/json, text/html;q=0.9", "application/json, text/html"],
)
def test_whoever_does_not_prefer_html_gets_json(cast: Cast, accept: str) -> None:
    answer = cast.vera.get(FLEET, Accept=accept)
    assert answer["Content-Type"] == "application/json"
    assert answer.json()["data"]["items"] == []


def test_errors_are_json_for_browsers_too(browser: Client, cast: Cast) -> None:
    anonymous = cast.nobody.get(FLEET, Accept=HTML)
    assert (anonymous.status_code, anonymous.json()["error"]) == (401, "unauthenticated")
    assert browser.get(f"{FLEET}/nobody").json()["error"] == "not_found"
    assert browser.get(f"{FLEET}?page=0").json()["error"] == "invalid_parameter"
    assert browser.get("/api/v1/internal/auth/login").json()["error"] == "method_not_allowed"


def test_a_write_answers_json_whatever_is_accepted(cast: Cast) -> None:
    body = {"organization_id": "org-003", "name": "Initech"}
    made = cast.root.call("POST", "/api/v1/controller/organizations", body, Accept=HTML)
    assert (made.status_code, made["Content-Type"]) == (201, "application/json")


def test_the_page_offers_each_write_with_a_body_to_begin_with(browser: Client) -> None:
    ours = organizations.create("org-003", name="Initech", acting_user=None)
    row = users.create(ours, acting_user=None, username="una", email="una@example.com", role="viewer")
    path = f"/api/v1/orchestrators/org-003/users/{row.user_id}"
    text = browser.get(path).content.decode()
    assert re.findall(r'data-method="(\w+)" action="([^"]+)"', text) == [("PUT", path), ("DELETE", path)]
    assert "una@example.com" in text.partition("<textarea")[2].partition("</textarea>")[0]
    token = re.search(r'name="csrf-token" content="(\w+)"', text)
    assert token
    body = json.dumps({"role": "operator"})
    refused = browser.put(path, body, content_type="application/json")
    assert refused.json()["error"] == "csrf_failed"
    changed = browser.put(path, body, content_type="application/json", headers={"X-CSRFToken": token[1]})
    assert changed.json()["data"]["role"] == "operator"


def test_a_page_of_a_list_leads_to_its_neighbours_and_keeps_the_filters(browser: Client) -> None:
    path = "/api/v1/orchestrators/org-001/api-keys"
    text = browser.get(f"{path}?page=2&page_size=1").content.decode()
    assert 'href="?page=1&amp;page_size=1"' in text
    assert 'href="?page=3&amp;page_size=1"' in text
    assert 'name="page_size" value="1"' in text


def test_what_is_stored_cannot_act_in_the_page(browser: Client) -> None:
    organizations.create("org-003", name="<script>alert(1)</script>", acting_user=None)
    from orchestrators import instances
    from orgs.models import Organization

    instances.create(
        "orch-9",
        organization=Organization.objects.get(pk="org-003"),
        name="<img src=x onerror=alert(1)>",
        acting_user=None,
    )
    text = browser.get(FLEET).content.decode()
    assert "<img src=x" not in text
    assert "&lt;img src=x" in text
    assert "<script>" not in text


def test_json_is_coloured_and_still_the_same_text() -> None:
    text = json.dumps({"a": 'x" <b> \\', "n": [-1.5e3, None, True], "é": {}}, indent=2, ensure_ascii=False)
    import html

    made = str(coloured(text))
    assert html.unescape(re.sub(r"</?span[^>]*>", "", made)) == text
    assert '<span class="json-key">&quot;a&quot;</span>' in made
    assert '<span class="json-word">-1500.0</span>' in made


def test_a_parameter_with_a_most_says_so() -> None:
    from moolai.openapi import requests

    part = requests._of_query("limit", Parameter("Rows.", "integer", default=5, maximum=50))
    assert part["description"] == "Rows. More than 50 is 50."
    assert "maximum" not in part["schema"]
