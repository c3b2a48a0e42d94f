"""Calls from other origins: none by default, then exactly the named ones, with the headers the API speaks."""

from typing import Any

import pytest
from django.test import Client

pytestmark = pytest.mark.django_db
PATH = "/api/v1/controller/orchestrators"
OURS = "https://console.example"
SENT = ("authorization", "idempotency-key", "x-organization-id", "x-api-key", "last-event-id")


def preflight(origin: str) -> Any:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, idempotency-key, x-organization-id, x-api-key, last-event-id",
    }
    return Client().options(PATH, headers=headers)


def test_no_other_origin_is_allowed_by_default() -> None:
    assert "Access-Control-Allow-Origin" not in preflight(OURS).headers
    assert "Access-Control-Allow-Origin" not in Client().get(PATH, headers={"Origin": OURS}).headers


def test_a_named_origin_may_send_our_headers_and_read_them(settings: Any) -> None:
    settings.CORS_ALLOWED_ORIGINS = [OURS]
    answer = preflight(OURS)
    assert answer.headers["Access-Control-Allow-Origin"] == OURS
    allowed = answer.headers["Access-Control-Allow-Headers"]
    assert all(name in allowed for name in SENT)
    exposed = Client().get(PATH, headers={"Origin": OURS}).headers["Access-Control-Expose-Headers"]
    assert all(name in exposed for name in ("x-request-id", "x-ratelimit-remaining", "x-moolai-cost-usd"))
    assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.parametrize(
    "origin", ["https://console.example.evil", "http://console.example", "https://console.example:444", "null"]
)
def test_a_similar_origin_is_another(settings: Any, origin: str) -> None:
    settings.CORS_ALLOWED_ORIGINS = [OURS]
    assert "Access-Control-Allow-Origin" not in preflight(origin).headers
