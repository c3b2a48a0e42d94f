"""Event ids: a place in the feed, sealed for one subscription, so that any process can go on from there.

The seal is keyed by SECRET_KEY and binds the id to the stream and to the organizations it shows: an id of somebody
else's stream is as unknown as one that was made up.
"""

import hashlib
import hmac
import re
from functools import lru_cache
from typing import Final

from django.conf import settings
from django.utils.crypto import salted_hmac

from monitoring.dashboard.place import Place
from monitoring.dashboard.topics import Scope
from monitoring.streams.plans import Stream

PATTERN: Final = r"[0-9a-f]{1,16}-[0-9a-f]{1,16}-[0-9a-f]{1,16}-[0-9a-f]{16}"
_SHAPE: Final = re.compile(PATTERN)


def is_well_formed(text: str) -> bool:
    """Whether `text` looks like an id of ours."""
    return _SHAPE.fullmatch(text) is not None


def bound(stream: Stream, scope: Scope, window: str) -> str:
    """Return what an id is bound to."""
    whose = "*" if scope.organizations is None else ",".join(sorted(scope.organizations))
    return f"{stream}|{window}|{whose}"


@lru_cache(maxsize=4096)
def write(place: Place, to: str) -> str:
    """Return the id of a place in the stream that is bound `to` this."""
    numbers = f"{place.at_ms:x}-{place.event:x}-{place.sample:x}"
    return f"{numbers}-{_seal(numbers, to)}"


def read(text: str, to: str) -> Place | None:
    """Return the place a well-formed id names, None when it was not written for this stream."""
    numbers, _, seal = text.rpartition("-")
    if not hmac.compare_digest(seal, _seal(numbers, to)):
        return None
    return Place(*(int(number, 16) for number in numbers.split("-")))


def _seal(numbers: str, to: str) -> str:
    return hashlib.blake2b(f"{numbers}|{to}".encode(), key=_key(settings.SECRET_KEY), digest_size=8).hexdigest()


@lru_cache(maxsize=4)
def _key(secret: str) -> bytes:
    return salted_hmac("moolai.streams", "v1", secret=secret, algorithm="sha256").digest()
