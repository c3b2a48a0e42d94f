"""Every error code is in the one list, with a status that fits, and documented; and the list holds no dead ones."""

import re

import pytest
from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.db import DataError, IntegrityError, InterfaceError, OperationalError
from django.http import Http404
from django.test import RequestFactory
from django.urls import Resolver404
from rest_framework import exceptions as drf

from moolai import errors
from moolai.errors import CODES, AppError, Conflict, Forbidden, InvalidInput, NotFound
from moolai.testing.product import PROJECT
from tests import source

pytestmark = pytest.mark.once

EXCEPTIONS = ("AppError", "InvalidInput", "Forbidden", "NotFound", "Conflict")


def documented() -> dict[str, int]:
    text = (PROJECT / "docs" / "errors.md").read_text()
    return {code: int(status) for code, status in re.findall(r"^\| `(\w+)` \| (\d{3}) \|", text, re.MULTILINE)}


def raised() -> dict[str, str]:
    """Return {code: place} of every code that the source raises or answers by its name."""
    found: dict[str, str] = {}
    for place, call in source.calls(*EXCEPTIONS):
        found |= dict.fromkeys(source.texts(call.args[0] if call.args else None), place)
    for place, call in source.calls("respond"):
        found |= dict.fromkeys(source.texts(call.args[1] if len(call.args) > 1 else None), place)
    return found


def test_every_code_is_documented_with_its_status_and_nothing_else_is() -> None:
    assert documented() == {code: status for code, (status, _) in CODES.items()}


def test_every_code_in_the_source_is_in_the_list() -> None:
    found = raised()
    assert len(found) > 10
    assert {code: place for code, place in found.items() if code not in CODES} == {}


def test_every_code_is_used() -> None:
    everything = "".join(
        path.read_text()
        for room in source.ROOMS
        for path in (PROJECT / room).rglob("*.py")
        if "tests" not in path.parts
    )
    unused = [code for code in CODES if everything.count(f'"{code}"') < 2]
    assert unused == []


def test_every_code_says_what_to_do() -> None:
    assert all(len(text) > 10 and text.endswith(".") for _, text in CODES.values())


def test_an_unknown_code_cannot_be_raised() -> None:
    with pytest.raises(KeyError):
        AppError("no_such_code")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Conflict(), "conflict"),
        (InvalidInput(fields={"a": "b"}), "invalid_field"),
        (Http404(), "not_found"),
        (Resolver404(), "not_found"),
        (NotFound(), "not_found"),
        (PermissionDenied(), "forbidden"),
        (Forbidden(), "forbidden"),
        (drf.PermissionDenied(), "forbidden"),
        (drf.NotAuthenticated(), "unauthenticated"),
        (drf.AuthenticationFailed(), "unauthenticated"),
        (drf.ParseError(), "invalid_json"),
        (drf.ValidationError({"a": ["b"]}), "invalid_field"),
        (drf.MethodNotAllowed("GET"), "method_not_allowed"),
        (drf.UnsupportedMediaType("x"), "unsupported_media_type"),
        (drf.Throttled(), "rate_limited"),
        (RequestDataTooBig(), "payload_too_large"),
        (OperationalError(), "database_unavailable"),
        (InterfaceError(), "database_unavailable"),
        (DataError(), "internal_error"),
        (IntegrityError(), "internal_error"),
        (ValueError("secret"), "internal_error"),
    ],
)
def test_every_exception_has_a_code(error: Exception, code: str) -> None:
    found = errors.classify(error)
    assert found.code == code
    assert found.http_status == CODES[code][0]
    assert "secret" not in found.detail


def test_nested_details_become_paths() -> None:
    detail = {"a": {"b": ["wrong", "very"]}, "c": [{"d": ["bad"]}, {}], "e": "no"}
    assert errors.flatten(detail)["a.b"] == "wrong very"
    assert errors.flatten(detail)["e"] == "no"
    assert errors.flatten(["alone"]) == {"body": "alone"}


@pytest.mark.parametrize("code", CODES)
def test_every_answer_carries_what_its_status_asks_for(code: str) -> None:
    answer = errors.respond(RequestFactory().get("/"), code)
    assert answer.status_code == CODES[code][0]
    assert ("WWW-Authenticate" in answer) is (answer.status_code == 401)
    assert ("Retry-After" in answer) is (answer.status_code in (429, 503))


def test_every_code_of_a_frame_is_in_the_protocol() -> None:
    text = (PROJECT / "docs" / "protocol.md").read_text()
    found: dict[str, str] = {}
    for place, call in source.calls("FrameError"):
        found |= dict.fromkeys(source.texts(call.args[0] if call.args else None), place)
    assert len(found) > 30
    assert {code: place for code, place in found.items() if f"`{code}`" not in text} == {}
