"""Database work in threads that live long: a connection that died is replaced, and the work tried once more."""

from collections.abc import Callable
from typing import TypeVar

from django.db import DatabaseError, InterfaceError, connections

T = TypeVar("T")


def guarded(work: Callable[[], T]) -> T:
    """Run `work`, which may be run twice; raises what the database says when it is really away."""
    try:
        return work()
    except (DatabaseError, InterfaceError):
        was_dead = not all(connection.is_usable() for connection in connections.all(initialized_only=True))
        connections.close_all()
        if not was_dead:
            raise
        return work()


def reason(error: Exception) -> str:
    """Return the first line of what a database said."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
