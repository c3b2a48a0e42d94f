"""The journal: what this process's calls were and cost, on disk before anybody is told; survives `kill -9`.

Each process appends to files of its own in DATA_DIR/journal/<holder>/, one write per record, and holds the lock in that
folder for as long as it lives: whoever gets the lock knows that the process is dead. `draining.py` reads the files into
the ledger.
"""

import fcntl
import os
import shutil
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from llm_gateway.money import records
from llm_gateway.money.records import Attempt, Begin, End, Record

LOCK: Final = "lock"
SUFFIX: Final = ".journal"
ROTATE_BYTES: Final = 16 * 1024 * 1024
MAX_LATE: Final = 20_000  # some 10 MB


class JournalFull(Exception):
    """The record could not be written: the disk is full, or the file is gone. The call must not be made."""


class Journal:
    """The end of the journal that a process writes; usable from any thread and from the event loop."""

    def __init__(self, directory: Path, *, holder: str, rotate_bytes: int = ROTATE_BYTES) -> None:
        """Open a journal in `directory` under the process's name, which no other ever had; raises JournalFull."""
        self.holder, self.rotate_bytes = folder_name(holder), rotate_bytes
        self.folder = directory / self.holder
        self._lock_file = _make(self.folder)
        self._lock = threading.Lock()
        self._late: list[bytes] = []  # ends that could not be written yet
        self._number = 0
        self._file = -1
        self._size = 0
        try:
            self._next_file()
        except JournalFull:
            os.close(self._lock_file)
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def begin(self, call: Begin) -> None:
        """Note a call before it is made; raises JournalFull, and the call must not be made then."""
        self._write(call)

    def attempt(self, attempt: Attempt) -> None:
        """Note a request to a provider that is over."""
        self._write(attempt)

    def end(self, end: End, *, attempts: Sequence[Attempt] = ()) -> None:
        """Note how a call ended, and attempts of its that are not noted yet, in one write.

        Raises JournalFull; it is written as soon as that is possible. Should the process end before, the call counts at
        what it reserved, as a lost one.
        """
        try:
            self._write(*attempts, end)
        except JournalFull:
            found: list[Record] = [*attempts, end]
            with self._lock:
                if len(self._late) < MAX_LATE:
                    self._late += map(records.pack, found)
            raise

    def sync(self) -> None:
        """Have the disk keep what was written, should the whole machine fail; raises OSError when it does not."""
        if self._late:
            with suppress(JournalFull):
                self._write()
        with self._lock:
            handle = os.dup(self._file) if self._file >= 0 else -1
        if handle >= 0:
            try:
                os.fdatasync(handle)
            finally:
                os.close(handle)

    def close(self) -> None:
        """Let go of the files and the lock: what is in them counts as left by a dead process."""
        with self._lock:
            for handle in (self._file, self._lock_file):
                if handle >= 0:
                    os.close(handle)
            self._file = self._lock_file = -1

    def _write(self, *found: Record) -> None:
        data = b"".join(map(records.pack, found))
        with self._lock:
            if self._late:
                data = b"".join([*self._late, data])
            if self._file < 0:
                raise JournalFull("The journal is closed.")
            if self._size >= self.rotate_bytes:
                self._next_file()
            try:
                written = os.write(self._file, data)
            except OSError as error:
                raise JournalFull(str(error)) from error
            if written < len(data):
                os.ftruncate(self._file, self._size)  # a torn record in the middle would hide what follows
                raise JournalFull("The disk is full.")
            self._size += written
            self._late.clear()

    def _next_file(self) -> None:
        path = self.folder / f"{self._number + 1:08}{SUFFIX}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        try:
            opened = os.open(path, flags, 0o600)
        except OSError as error:
            raise JournalFull(str(error)) from error
        if self._file >= 0:
            os.close(self._file)
        self._file, self._size, self._number = opened, 0, self._number + 1


def _make(folder: Path) -> int:
    """Make a process's folder with its lock held; nobody sees it without. Return the lock's file."""
    hidden = folder.with_name(f".{folder.name}")
    try:
        hidden.mkdir(mode=0o700, parents=True)
        lock = os.open(hidden / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        shutil.rmtree(hidden, ignore_errors=True)
        raise JournalFull(str(error)) from error
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    hidden.rename(folder)
    return lock


def folder_name(holder: str) -> str:
    """Return the name of a process's folder."""
    return holder.replace(":", "-").replace("/", "-")


def files(folder: Path) -> list[Path]:
    """Return a process's files in the order in which they were written."""
    return sorted(folder.glob(f"*{SUFFIX}"))
