r"""The encrypted stream a backup is written through: AES-256-GCM in chunks, each bound to its place and to the header.

    moolai-backup 1\n {"key_id": …, "salt": …}\n  ( length: 4 bytes, ciphertext with tag ) …

The key is derived for this one file. A chunk's nonce is its number and whether it is the last (the STREAM construction
of Hoang, Reyhanitabar, Rogaway and Vizár, 2015), so that cutting, reordering and joining are noticed as edits are.
"""

import io
import json
import secrets
from typing import IO, Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from orgs import vault

MAGIC: Final = b"moolai-backup 1\n"
CHUNK_BYTES: Final = 1024 * 1024
TAG_BYTES: Final = 16
MAX_HEADER_BYTES: Final = 1000


class BackupError(Exception):
    """Why a backup or a restore cannot be done, in one sentence."""


def _cipher(key: vault.Key, salt: bytes) -> AESGCM:
    return AESGCM(key.derive("backup v1", salt=salt))


def _nonce(number: int, *, is_last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([is_last])


class Writer(io.RawIOBase):
    """Encrypts what is written to it into `file`; without `finish` the result is no backup."""

    def __init__(self, file: IO[bytes]) -> None:
        key, salt = vault.ring()[0], secrets.token_bytes(32)
        header = {"key_id": key.key_id, "salt": salt.hex()}
        self._file, self._cipher, self._buffer, self._number = file, _cipher(key, salt), bytearray(), 0
        self._header = MAGIC + json.dumps(header).encode() + b"\n"
        self._file.write(self._header)

    def writable(self) -> bool:
        """Yes."""
        return True

    def write(self, data: Any) -> int:
        """Take bytes; whole chunks are encrypted and passed on."""
        self._buffer += data
        while len(self._buffer) > CHUNK_BYTES:
            self._emit(bytes(self._buffer[:CHUNK_BYTES]), is_last=False)
            del self._buffer[:CHUNK_BYTES]
        return len(data)

    def finish(self) -> None:
        """Write the last chunk, which says that it is the last."""
        self._emit(bytes(self._buffer), is_last=True)
        self._buffer.clear()

    def _emit(self, chunk: bytes, *, is_last: bool) -> None:
        sealed = self._cipher.encrypt(_nonce(self._number, is_last=is_last), chunk, self._header)
        self._file.write(len(sealed).to_bytes(4, "big") + sealed)
        self._number += 1


class Reader(io.RawIOBase):
    """Decrypts `file`; raises BackupError at the first byte that is not as it was written."""

    def __init__(self, file: IO[bytes]) -> None:
        magic = file.readline(MAX_HEADER_BYTES)
        line = file.readline(MAX_HEADER_BYTES)
        if magic != MAGIC:
            raise BackupError("This is no backup of moolai, or one of a newer version.")
        try:
            header = json.loads(line)
            key_id, salt = str(header["key_id"]), bytes.fromhex(header["salt"])
        except (ValueError, KeyError, TypeError):
            raise BackupError("The backup was changed: its header cannot be read.") from None
        key = vault.find(key_id)
        if key is None:
            raise BackupError(f"The backup was made with another ENCRYPTION_KEY ({key_id[:20]}); add that key to it.")
        self._file, self._header, self._cipher = file, magic + line, _cipher(key, salt)
        self._number, self._plain, self._is_over = 0, b"", False
        self._length = file.read(4)

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer` with decrypted bytes; 0 after the last chunk."""
        while not self._plain and not self._is_over:
            self._plain = self._next()
        count = min(len(buffer), len(self._plain))
        buffer[:count] = self._plain[:count]
        self._plain = self._plain[count:]
        return count

    def _next(self) -> bytes:
        size = int.from_bytes(self._length, "big")
        sealed = self._file.read(size) if TAG_BYTES <= size <= CHUNK_BYTES + TAG_BYTES else b""
        following = self._file.read(4)
        is_last = not following
        try:
            if len(sealed) != size or len(self._length) != 4:
                raise InvalidTag
            plain = self._cipher.decrypt(_nonce(self._number, is_last=is_last), sealed, self._header)
        except InvalidTag:
            place = f"after {self._number} MiB"
            raise BackupError(f"The backup was cut off or changed {place}: use another copy of it.") from None
        self._number, self._length, self._is_over = self._number + 1, following, is_last
        return plain
