"""Draining: journals are read into the ledger, each byte once, also those that dead processes left.

How far a file was read stands in a row that moves in the transaction which writes what was read: whoever is killed in
between did nothing, and two who read one file wait for each other.
"""

import fcntl
import logging
import os
import shutil
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from django.db import InterfaceError, OperationalError, transaction
from django.utils import timezone

from llm_gateway.models import BudgetLease, JournalCursor
from llm_gateway.money import journal, leases, ledger, records

logger = logging.getLogger(__name__)
READ_BYTES: Final = 1024 * 1024
# A process that nobody heard of for so long, and whose journal is out of reach, holds nothing any more.
SLOTS_AFTER: Final = timedelta(minutes=10)
MONEY_AFTER: Final = timedelta(days=1)
SLOTS: Final = ("calls", "requests", "tokens")


def drain(path: Path) -> int:
    """Read whole records of one file into the ledger, at most a mebibyte of them; return how many bytes that were."""
    holder = path.parent.name
    with transaction.atomic():
        cursor = _cursor(path)
        with path.open("rb") as file:
            file.seek(cursor.offset)
            data = file.read(READ_BYTES)
        found = list(records.documents(data))
        if not found or cursor.is_closed:
            return 0
        ledger.write_documents([(letter, values) for letter, values, _ in found], holder=holder)
        moved = JournalCursor.objects.filter(name=cursor.name)
        moved.update(offset=cursor.offset + found[-1][2], moved_at=timezone.now())
    return found[-1][2]


def _cursor(path: Path) -> JournalCursor:
    """Return the file's cursor, locked."""
    name, locked = f"{path.parent.name}/{path.name}", JournalCursor.objects.select_for_update()
    found = locked.filter(name=name).first()
    if found is None:
        fresh = JournalCursor(name=name, holder=path.parent.name, moved_at=timezone.now())
        JournalCursor.objects.bulk_create([fresh], ignore_conflicts=True)
        found = locked.get(name=name)
    return found


def drain_folder(folder: Path) -> int:
    """Read everything a process wrote until now, file after file; return how many bytes that were.

    A file that was read and is not written to any more is deleted. What is written meanwhile waits for the next round:
    a transaction for every few calls would cost more than serving them.
    """
    total, found = 0, journal.files(folder)
    for place, path in enumerate(found):
        size = READ_BYTES
        while size > READ_BYTES - records.MOST_BYTES:  # a read that was full leaves something
            size = drain(path)
            total += size
        if place + 1 < len(found):
            _close(path)
    return total


def _close(path: Path) -> None:
    """Delete a file that was read to its end; what is torn there has been said."""
    cursor = JournalCursor.objects.get(name=f"{path.parent.name}/{path.name}")
    if torn := path.stat().st_size - cursor.offset:
        logger.warning("%d bytes at the end of journal %s are no record", torn, cursor.name)
    JournalCursor.objects.filter(pk=cursor.pk).update(is_closed=True)
    path.unlink(missing_ok=True)


def beat(holder: str, *, now: datetime) -> None:
    """Note that a process is alive that has nothing to write."""
    JournalCursor.objects.filter(holder=holder, is_closed=False).update(moved_at=now)


def backlog(directory: Path) -> int:
    """Return how many bytes of journals, of live and of dead processes, are not in the ledger yet. One query."""
    sizes = {f"{path.parent.name}/{path.name}": _size(path) for path in directory.glob(f"*/*{journal.SUFFIX}")}
    done = (
        dict(JournalCursor.objects.filter(is_closed=False).values_list("name", "offset")) if any(sizes.values()) else {}
    )
    return sum(max(0, size - done.get(name, 0)) for name, size in sizes.items())


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0  # it has just been read to its end


# --- what dead processes left ----------------------------------------------------------------------------------------


def adopt(directory: Path) -> list[str]:
    """Finish the books of every process that died: count its calls, end those it left open, give back its slices.

    Returns the names of those processes. What cannot be read is logged, and the others are finished all the same.
    """
    done = []
    for folder in sorted(path for path in directory.glob("*") if path.is_dir() and not path.name.startswith(".")):
        try:
            if _adopt(folder):
                done.append(folder.name)
        except FileNotFoundError:
            continue  # somebody else has just finished it
        except (OperationalError, InterfaceError):
            raise  # none of them can be read now
        except Exception:
            logger.exception("the journal of %s cannot be read", folder.name)
    return done


def _adopt(folder: Path) -> bool:
    lock = os.open(folder / journal.LOCK, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        drain_folder(folder)
        bury(folder.name)
        for path in journal.files(folder):
            _close(path)
        shutil.rmtree(folder, ignore_errors=True)
    except BlockingIOError:
        return False  # it lives
    finally:
        os.close(lock)
    return True


@transaction.atomic
def bury(holder: str) -> None:
    """End the open calls of a dead process whose journal was read, and give back what it held."""
    lost = ledger.lose(holder, now=timezone.now())
    released = leases.release(holder)
    if lost or released:
        logger.info("process %s is dead: %d calls were lost, %d leases given back", holder, lost, released)


def release_vanished(*, now: datetime) -> int:
    """Give back what processes hold whose journals cannot be reached from here, and that are silent for long."""
    released = 0
    for holder in BudgetLease.objects.order_by().values_list("holder", flat=True).distinct():
        newest = JournalCursor.objects.filter(holder=holder).order_by("-moved_at").first()
        age = now - newest.moved_at if newest else timedelta(0)
        if age > SLOTS_AFTER:
            released += leases.release(holder, units=() if age > MONEY_AFTER else SLOTS)
    return released
