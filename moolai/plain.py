"""Plain requests: calls of the gateway that can be read in one way only, without a parser of all of HTTP. Pure.

`read` takes what every client library sends: a POST to one of five paths, HTTP/1.1, headers in printable ASCII, those
that say how it is read at most once, a length. Everything else is not plain, and left to moolai/parser.py, which
decides whether it is right.
"""

import re
from itertools import pairwise
from typing import Final, NamedTuple

from moolai.parser import HEAD_LIMIT_BYTES, HEAD_LIMIT_FIELDS

MAX_BODY_BYTES: Final = 256 * 1024  # larger ones are read as they come
_LINE: Final = re.compile(rb"POST (/v1/(?:chat/completions|completions|embeddings|responses|messages)) HTTP/1\.1\r\n")
_FIELDS: Final = re.compile(rb"(?:[A-Za-z0-9!#$%&'*+.^_`|~-]+:[\t\x20-\x7e]*\r\n)+")
_LENGTH: Final = re.compile(rb"[0-9]{1,7}")
# What says how the request or its connection is to be read: at most once, and what is not plain at all.
_ONCE: Final = (b"content-length", b"host", b"connection")
_TELLING: Final = frozenset({b"transfer-encoding", b"expect", b"upgrade", b"te", b"trailer", b"http2-settings"})
Fields = list[tuple[bytes, bytes]]


class Plain(NamedTuple):
    """A plain request's head: its path, its header fields (names in small letters), and how long all of it is."""

    path: bytes
    fields: Fields
    head_bytes: int
    size: int


def read(data: bytes) -> Plain | None:
    """Return the head of the request that `data` begins with, None when it is not whole, or not plain."""
    end = data.find(b"\r\n\r\n", 0, HEAD_LIMIT_BYTES) + 4
    line = _LINE.match(data)
    if line is None or end < 4 or _FIELDS.fullmatch(data, line.end(), end - 2) is None:
        return None
    fields = [_field(one) for one in data[line.end() : end - 4].split(b"\r\n")]
    found = dict(fields)
    if len(fields) > HEAD_LIMIT_FIELDS or not found.keys().isdisjoint(_TELLING):
        return None
    if len(found) != len(fields) and any(name in _ONCE for name in _repeated(fields)):
        return None
    length = found.get(b"content-length", b"")
    if not found.get(b"host") or not _LENGTH.fullmatch(length) or int(length) > MAX_BODY_BYTES:
        return None
    if found.get(b"connection", b"keep-alive").lower() != b"keep-alive":
        return None
    return Plain(line[1], fields, end, end + int(length))


def _repeated(fields: Fields) -> list[bytes]:
    names = sorted(name for name, _ in fields)
    return [name for name, following in pairwise(names) if name == following]


def _field(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.partition(b":")
    return name.lower(), value.strip(b" \t")
