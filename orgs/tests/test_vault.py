"""The vault: what is sealed opens only in its place and with its key; masks hide every password."""

import base64
from collections.abc import Callable

import pytest

from orgs import vault

pytestmark = pytest.mark.once

OLD, NEW = "old-key-" + "o" * 32, "new-key-" + "n" * 32
PLACE = {"organization_id": "acme", "field": "table.column"}
SetKeys = Callable[[str], None]


@pytest.fixture
def keys(settings: object) -> SetKeys:
    def use(value: str) -> None:
        settings.ENCRYPTION_KEY = value  # type: ignore[attr-defined]

    use(OLD)
    return use


@pytest.mark.parametrize("text", ["", "secret", "пароль 🔑", "x" * 100_000, "enc:v1:000000000000:AAAA"])
def test_what_was_sealed_opens_again(keys: SetKeys, text: str) -> None:
    sealed = vault.seal(text, **PLACE)
    assert sealed.startswith(f"enc:v1:{vault.ring()[0].key_id}:")
    assert vault.open_(sealed, **PLACE) == text
    assert text == "" or text not in sealed


def test_the_same_text_never_looks_the_same(keys: SetKeys) -> None:
    assert len({vault.seal("secret", **PLACE) for _ in range(100)}) == 100


@pytest.mark.parametrize("place", [{"organization_id": "globex"}, {"field": "table.other"}])
def test_a_ciphertext_does_not_open_in_another_organization_or_field(keys: SetKeys, place: dict[str, str]) -> None:
    with pytest.raises(vault.Unreadable, match="moved from another organization or field"):
        vault.open_(vault.seal("secret", **PLACE), **{**PLACE, **place})


def test_the_border_between_organization_and_field_cannot_be_shifted(keys: SetKeys) -> None:
    sealed = vault.seal("secret", organization_id='a", "b', field="c")
    with pytest.raises(vault.Unreadable):
        vault.open_(sealed, organization_id="a", field='b", "c')


def test_every_flipped_bit_is_noticed(keys: SetKeys) -> None:
    head, _, body = vault.seal("secret", **PLACE).rpartition(":")
    blob = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
    for index in range(len(blob) * 8):
        forged = bytearray(blob)
        forged[index // 8] ^= 1 << index % 8
        with pytest.raises(vault.Unreadable):
            vault.open_(f"{head}:{base64.urlsafe_b64encode(forged).rstrip(b'=').decode()}", **PLACE)


@pytest.mark.parametrize("junk", ["", "hunter2", "enc:v1:", "enc:v2:0123456789ab:AAAA", "enc:v1:0123456789ab:A"])
def test_junk_is_unreadable_and_not_quoted(keys: SetKeys, junk: str) -> None:
    with pytest.raises(vault.Unreadable) as caught:
        vault.open_(junk, **PLACE)
    assert junk == "" or junk not in str(caught.value)


def test_the_first_of_several_keys_seals_and_all_open(keys: SetKeys) -> None:
    before = vault.seal("secret", **PLACE)
    keys(f"{NEW}, {OLD}")
    after = vault.seal("secret", **PLACE)
    assert vault.key_id_of(after) != vault.key_id_of(before)
    assert vault.open_(before, **PLACE) == vault.open_(after, **PLACE) == "secret"
    keys(NEW)
    assert vault.open_(after, **PLACE) == "secret"
    with pytest.raises(vault.Unreadable, match=f"lacks the key {vault.key_id_of(before)}"):
        vault.open_(before, **PLACE)


def test_the_secret_key_plays_no_part(keys: SetKeys, settings: object) -> None:
    sealed = vault.seal("secret", **PLACE)
    settings.SECRET_KEY = "quite another one"  # type: ignore[attr-defined]
    assert vault.open_(sealed, **PLACE) == "secret"


def test_keys_are_not_shown_in_tracebacks_and_logs(keys: SetKeys) -> None:
    assert OLD not in repr(vault.ring())


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("", ""),
        ("http://host:8080/path", "http://host:8080/path"),
        ("postgres://user:CANARY@host:5432/db", "postgres://user:***@host:5432/db"),
        ("postgresql+psycopg://user:CANARY@host/db", "postgresql+psycopg://user:***@host/db"),
        ("redis://:CANARY@host:6379/0", "redis://:***@host:6379/0"),
        ("postgres://user:CAN/ARY@host/db", "postgres://user:***@host/db"),
        ("postgres://user:CAN@ARY#1?x@host/db", "postgres://user:***@host/db"),
        ("https://CANARY@host/", "https://***@host/"),
        ("postgres://user@host/db", "postgres://user@host/db"),
        ("postgres://host/db?user=me&password=CANARY&sslmode=on", "postgres://host/db?user=me&password=***&sslmode=on"),
        ("https://host/?api_key=CANARY", "https://host/?api_key=***"),
        ("https://host/#access_token=CANARY", "https://host/#access_token=***"),
        ("host=h user=u password=CANARY dbname=d", "host=h user=u password=*** dbname=d"),
        ("host=h password='CAN ARY' dbname=d", "host=h password=*** dbname=d"),
        ("Server=h;Password=CANARY;Database=d", "Server=h;Password=***;Database=d"),
        ("amqp://user:CANARY@one,user:CANARY@two/", "amqp://user:***@two/"),
    ],
)
def test_a_masked_url_keeps_everything_but_its_secrets(url: str, masked: str) -> None:
    assert vault.mask_url(url) == masked
    assert vault.mask_url(masked) == masked


def test_a_mask_hides_the_length() -> None:
    assert [vault.mask(value) for value in (None, "", "a", "a" * 50)] == ["", "", "***", "***"]
