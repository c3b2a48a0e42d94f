"""The engine's place among the events: kept in a row, so that a restart loses no event and reads none twice."""

from typing import Final

from monitoring.models import EngineState
from orgs import events
from orgs.models import Event

PAGE: Final = 5000
MAX_PAGES: Final = 10


def open_at_the_end(state: EngineState) -> None:
    """Begin at the newest event: what happened before there was an engine is no news."""
    state.place = events.Cursor().saved()


def read(state: EngineState) -> list[Event]:
    """Return the events since the last read, oldest first, and move `state` on (unsaved)."""
    cursor, found = events.Cursor.restored(state.place), []
    for _ in range(MAX_PAGES):
        found += cursor.read(limit=PAGE)
        if not cursor.is_behind:
            break
    state.place = cursor.saved()
    return found
