"""The vault: seals secrets before they reach the database, opens them again, and masks them for readers.

AES-256-GCM. ENCRYPTION_KEY holds one or more keys, separated by commas: the first seals, all of them open, so that a
key can be replaced (`orgs/rotation.py`). Each is turned into key material by HKDF (RFC 5869); SECRET_KEY is never used.
Which columns are sealed is said by their type in `orgs/sealed.py`.
"""

import base64
import binascii
import json
import re
import secrets
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from moolai.errors import AppError

PREFIX: Final = "enc:v1:"
STARS: Final = "***"
NONCE_BYTES: Final = 12
_SHAPE: Final = re.compile(r"enc:v1:([0-9a-f]{12}):([A-Za-z0-9_-]+)")
_SECRET_WORD: Final = r"(?:pass|pwd|secret|token|key|sig|auth|cred)"  # noqa: S105 — names, not a secret
_USERINFO: Final = re.compile(r"(://[^:@/?#]*):(.*)@", re.DOTALL)
_TOKEN_ONLY: Final = re.compile(r"(?i)^(https?://)[^:@/?#]+@")
_PARAMETER: Final = re.compile(
    rf"""(?ix) (\b [\w.-]* {_SECRET_WORD} [\w.-]* \s* = \s*) ( '[^']*' | "[^"]*" | [^\s&;\#]+ )"""
)


class Unreadable(AppError):
    """A sealed value that no key of ENCRYPTION_KEY opens in this place."""

    code = "internal_error"

    def __init__(self, reason: str) -> None:
        super().__init__(detail=f"A stored secret cannot be read: {reason}")


@dataclass(frozen=True, slots=True)
class Key:
    """One key of ENCRYPTION_KEY; `key_id` is derived from it and tells nothing about it."""

    key_id: str
    text: str = field(repr=False)
    cipher: AESGCM = field(repr=False)

    def derive(self, purpose: str, *, salt: bytes) -> bytes:
        """Return 32 bytes of key material for another purpose than sealing, such as one backup."""
        return _derive(self.text, purpose, salt=salt)


def _derive(text: str, purpose: str, *, salt: bytes = b"", length: int = 32) -> bytes:
    return HKDF(algorithm=SHA256(), length=length, salt=salt, info=f"moolai {purpose}".encode()).derive(text.encode())


@lru_cache(maxsize=8)
def _ring(setting: str) -> tuple[Key, ...]:
    texts = [part.strip() for part in setting.split(",") if part.strip()]
    return tuple(
        Key(_derive(text, "key id v1", length=6).hex(), text, AESGCM(_derive(text, "seal v1"))) for text in texts
    )


def ring() -> tuple[Key, ...]:
    """Return the keys of ENCRYPTION_KEY, the sealing one first; raises ImproperlyConfigured when there is none."""
    keys = _ring(settings.ENCRYPTION_KEY)
    if not keys:
        raise ImproperlyConfigured("Set ENCRYPTION_KEY to 32 or more random characters; secrets are encrypted with it.")
    return keys


def find(key_id: str) -> Key | None:
    """Return the key of ENCRYPTION_KEY that has this id, None when it is not there (any more)."""
    return next((key for key in ring() if key.key_id == key_id), None)


def seal(text: str, *, organization_id: str, field: str) -> str:
    """Encrypt `text` with the first key, as `enc:v1:<key id>:<base64 of nonce, ciphertext and tag>`.

    The organization and the field's name are authenticated with it: moved to another place it does not open.
    """
    key, nonce = ring()[0], secrets.token_bytes(NONCE_BYTES)
    cipher = key.cipher.encrypt(nonce, text.encode(), _place(organization_id, field))
    return f"{PREFIX}{key.key_id}:{base64.urlsafe_b64encode(nonce + cipher).rstrip(b'=').decode()}"


def open_(sealed: str, *, organization_id: str, field: str) -> str:
    """Decrypt what `seal` returned for the same organization and field; raises Unreadable, which quotes nothing."""
    match = _SHAPE.fullmatch(sealed)
    if match is None:
        raise Unreadable("it is not sealed.")
    key = find(match[1])
    if key is None:
        raise Unreadable(f"ENCRYPTION_KEY lacks the key {match[1]} it was sealed with.")
    try:
        blob = base64.urlsafe_b64decode(match[2] + "=" * (-len(match[2]) % 4))
        return key.cipher.decrypt(blob[:NONCE_BYTES], blob[NONCE_BYTES:], _place(organization_id, field)).decode()
    except (InvalidTag, binascii.Error, ValueError):
        raise Unreadable("it was changed, or moved from another organization or field.") from None


def _place(organization_id: str, field: str) -> bytes:
    return json.dumps([organization_id, field]).encode()


def is_sealed(value: Any) -> bool:
    """Whether `value` has the shape of a sealed text (not whether it opens)."""
    return isinstance(value, str) and _SHAPE.fullmatch(value) is not None


def key_id_of(sealed: str) -> str:
    """Return the id of the key that a sealed text was sealed with, "" when it is not sealed."""
    match = _SHAPE.fullmatch(sealed)
    return match[1] if match else ""


def mask(value: Any) -> str:
    """Return `***` for anything, "" for nothing."""
    return STARS if value not in (None, "") else ""


def mask_url(url: str) -> str:
    """Return `url` with its password, and parameters named like a secret, as `***`.

    Passwords that should have been percent-encoded are covered too: in doubt more is masked than needed. Connection
    strings (`host=… password=…`) are treated alike.
    """
    masked = _USERINFO.sub(rf"\1:{STARS}@", url, count=1)
    if masked == url:
        masked = _TOKEN_ONLY.sub(rf"\1{STARS}@", url)
    return _PARAMETER.sub(rf"\1{STARS}", masked)
