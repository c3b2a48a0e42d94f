"""Access tokens nobody should accept: keys named by their header, keys of other kinds, claims left out."""

import base64
import hashlib
import hmac
import json
from datetime import timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from django.utils import timezone

from orgs import tokens
from orgs.models import Membership, User
from orgs.tests import cast
from orgs.tests.cast import Person

FLEET, ELSEWHERE = "/api/v1/controller/orchestrators", "/api/v1/orchestrators/org-001/users"


@pytest.fixture
def token(db: None, settings: Any) -> str:
    cast.make(settings)
    user = User.objects.create_user("ann", password="a-long-enough-secret")
    Membership.objects.create(user=user, organization_id="org-001", role="admin")
    return tokens.sign_in(user, now=timezone.now()).access_token


def encoded(value: dict[str, Any] | bytes) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed(header: dict[str, Any], claims: dict[str, Any], key: bytes) -> str:
    """Sign without a library that would refuse to."""
    text = f"{encoded(header)}.{encoded(claims)}"
    return f"{text}.{encoded(hmac.digest(key, text.encode(), hashlib.sha256))}"


def refused(token: str) -> None:
    for path, expected in ((FLEET, (403, "forbidden")), (ELSEWHERE, (401, "unauthenticated"))):
        answer = Person({"Authorization": f"Bearer {token}"}).get(path)
        body = json.loads(answer.content)
        assert (answer.status_code, body["error"]) == expected
        assert body["detail"] == "The credential is wrong, expired or revoked."


def parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    return jwt.get_unverified_header(token), jwt.decode(token, options={"verify_signature": False})


def test_what_is_signed_by_hand_here_is_good_when_nothing_is_wrong_with_it(token: str) -> None:
    good = signed(*parts(token), tokens._key()[1])
    assert Person({"Authorization": f"Bearer {good}"}).get(ELSEWHERE).status_code == 200


@pytest.mark.parametrize("kid", ["/dev/null", "../../../../dev/null", "' OR 1=1 --", "", None, 7, ["a"]])
def test_a_kid_that_is_no_key_of_ours_is_refused_whatever_it_names(token: str, kid: Any) -> None:
    header, claims = parts(token)
    for key in (b"", tokens._key()[1]):
        refused(signed(header | {"kid": kid}, claims, key))


@pytest.mark.parametrize("name", ["jku", "x5u", "jwk", "x5c"])
def test_a_key_that_comes_with_the_token_is_not_used(token: str, name: str) -> None:
    header, claims = parts(token)
    given = {"jwk": {"kty": "oct", "k": encoded(b"k" * 32)}, "x5c": ["MIIB"]}
    refused(signed(header | {name: given.get(name, "http://127.0.0.1:1/keys.json")}, claims, b"k" * 32))


def test_another_kind_of_signature_is_refused(token: str) -> None:
    header, claims = parts(token)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    refused(jwt.encode(claims, key, algorithm="RS256", headers=header | {"alg": "RS256"}))
    pem = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    refused(signed(header, claims, pem))
    for algorithm in ("none", "None", "NONE", "nOnE", "hs256", "", None):
        refused(f"{encoded(header | {'alg': algorithm})}.{encoded(claims)}.")


@pytest.mark.parametrize("name", ["exp", "iat", "nbf", "iss", "aud", "sub", "sid"])
def test_every_claim_is_required(token: str, name: str) -> None:
    header, claims = parts(token)
    refused(signed(header, {key: value for key, value in claims.items() if key != name}, tokens._key()[1]))


def test_a_token_says_nothing_of_rights_and_adding_them_changes_nothing(token: str) -> None:
    header, claims = parts(token)
    assert not {"role", "roles", "org", "organization_id", "is_superuser", "scope"} & set(claims)
    more = {"role": "superadmin", "org": "org-002", "is_superuser": True, "organization_id": "org-002"}
    person = Person({"Authorization": f"Bearer {signed(header, claims | more, tokens._key()[1])}"})
    assert person.get("/api/v1/orchestrators/org-002/users").status_code == 404
    assert json.loads(person.get(FLEET).content)["data"]["items"] == []


def test_it_lives_for_a_quarter_of_an_hour(token: str) -> None:
    _, claims = parts(token)
    assert claims["exp"] - claims["iat"] <= timedelta(minutes=15).total_seconds()


def test_the_key_is_not_the_secret_key(settings: Any, token: str) -> None:
    header, claims = parts(token)
    for key in (settings.SECRET_KEY.encode(), hashlib.sha256(settings.SECRET_KEY.encode()).digest()):
        refused(signed(header, claims, key))
