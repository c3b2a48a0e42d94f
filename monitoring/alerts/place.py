"""The engine's place among the events: kept in a row, so that a restart loses no event and reads none twice.

Ids are given before the commit, so an event may appear below the newest one read. Such gaps are remembered and asked
for until they are GAP_SECONDS old (then they were rolled back); after a pause each is asked for once more.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from django.db.models import Q

from monitoring.models import EngineState
from orgs.models import Event

GAP_SECONDS: Final = 60.0
MAX_GAPS: Final = 1000
AT_START: Final = 100
PAGE: Final = 5000
MAX_PAGES: Final = 10


def open_at_the_end(state: EngineState, *, now: datetime) -> None:
    """Begin at the newest event: what happened before there was an engine is no news."""
    recent = list(Event.objects.order_by("-id").values_list("id", flat=True)[:AT_START])
    state.last_event_id = recent[0] if recent else 0
    missing = set(range(max(1, state.last_event_id - AT_START), state.last_event_id)) - set(recent)
    state.gaps = {str(number): now.timestamp() + GAP_SECONDS for number in sorted(missing)}


def read(state: EngineState, *, now: datetime) -> list[Event]:
    """Return the events since the last read, oldest first, and move `state` on (unsaved)."""
    return [event for page in _pages(state, now=now) for event in page]


def _pages(state: EngineState, *, now: datetime) -> Iterator[list[Event]]:
    for _ in range(MAX_PAGES):
        condition = Q(id__gt=state.last_event_id)
        if state.gaps:
            condition |= Q(id__in=[int(number) for number in state.gaps])
        page = list(Event.objects.filter(condition).order_by("id")[:PAGE])
        _move(state, page, now=now)
        yield page
        if len(page) < PAGE:
            return


def _move(state: EngineState, page: list[Event], *, now: datetime) -> None:
    moment = now.timestamp()
    for event in page:
        state.gaps.pop(str(event.pk), None)
        if event.pk > state.last_event_id:
            first = max(state.last_event_id + 1, event.pk - MAX_GAPS)
            state.gaps |= {str(number): moment + GAP_SECONDS for number in range(first, event.pk)}
            state.last_event_id = event.pk
    state.gaps = {number: until for number, until in state.gaps.items() if until > moment}
