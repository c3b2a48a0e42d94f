"""What a command does whose output nobody reads any more (`… | head`): it ends without a word."""

import os
import sys
from collections.abc import Callable
from typing import Final

STATUS: Final = 141  # as shells report a program that SIGPIPE ended


def run(work: Callable[[], None]) -> None:
    """Do a command's work and write out what it said; the process ends quietly where its reader has gone."""
    try:
        try:
            work()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        if not _is_unread():
            raise  # another pipe, or a connection
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush as Python ends
        sys.exit(STATUS)


def _is_unread() -> bool:
    """Whether nobody reads standard output: what was to be written is still there, and cannot be."""
    try:
        sys.stdout.write("\n")
        sys.stdout.flush()
    except BrokenPipeError:
        return True
    return False
