"""Which instances were heard of since the last look; for the feed, which shows each sighting once. Reads rows."""

from datetime import datetime, timedelta
from typing import Any, Final

from monitoring.dashboard.topics import STATUS_COLUMNS, Frame, status_frame
from orchestrators.models import Instance

OVERLAP: Final = timedelta(seconds=5)
PAGE_ROWS: Final = 5000
MAX_SHOWN: Final = 50_000
_LAST_SEEN: Final = 2 + STATUS_COLUMNS.index("last_seen")


class Movement:
    """Reads, turn by turn, the rows whose `last_seen` moved, along the index of their deadlines, which move with it.

    Several processes write: what one of them flushes late, or with a clock that is behind, has a lower deadline than
    what was read already. So every look begins `overlap` below the mark, and what was shown is passed over.
    """

    def __init__(self, *, overlap: timedelta = OVERLAP, page_rows: int = PAGE_ROWS) -> None:
        self._overlap, self._page_rows = overlap, page_rows
        self._mark: datetime | None = None  # the newest deadline read, never ahead of what our own clock would give
        self._floor: datetime | None = None  # where this pass began
        self._after: tuple[datetime, int] | None = None  # the last row of a full page: the pass goes on behind it
        self._shown: dict[int, tuple[datetime, datetime]] = {}  # pk → (last_seen, deadline) within the overlap

    def read(self, *, now: datetime) -> list[Frame]:
        """Return the `orchestrator_status` frames of the sightings not shown yet, at most a page of them."""
        ahead = Instance.deadline_after(now)
        if self._mark is None:
            self._mark = self._newest()
        if self._mark is None:
            return []
        self._mark = min(self._mark, ahead)
        if self._after is None or self._floor is None:
            self._floor = self._mark - self._overlap
            self._forget(self._floor, seen=self._floor - (ahead - now))
        page = self._page(self._floor, seen=self._floor - (ahead - now))
        if page:
            self._mark = min(max(self._mark, page[-1][1]), ahead)
        self._after = (page[-1][1], page[-1][0]) if len(page) == self._page_rows else None
        return [status_frame(row[2:]) for row in page if self._is_news(row)]

    @staticmethod
    def _newest() -> datetime | None:
        rows = Instance.objects.present().filter(deadline_at__isnull=False).order_by("-deadline_at")
        return rows.values_list("deadline_at", flat=True).first()

    def _page(self, floor: datetime, *, seen: datetime) -> list[tuple[Any, ...]]:
        """Return (pk, deadline, *STATUS_COLUMNS) of the next rows; a deadline of a longer TTL alone is no news."""
        since, pk = self._after or (floor, 0)
        rows = Instance.objects.present().filter(deadline_at__gte=since, last_seen__gte=seen)
        rows = rows.exclude(deadline_at=since, pk__lte=pk).order_by("deadline_at", "pk")
        return list(rows.values_list("pk", "deadline_at", *STATUS_COLUMNS)[: self._page_rows])

    def _is_news(self, row: tuple[Any, ...]) -> bool:
        pk, last_seen = row[0], row[_LAST_SEEN]
        before = self._shown.pop(pk, None)
        self._shown[pk] = (last_seen, row[1])
        return before is None or before[0] != last_seen

    def _forget(self, floor: datetime, *, seen: datetime) -> None:
        """Forget what no look can meet again; beyond the bound the oldest, which are then shown twice."""
        kept = [item for item in self._shown.items() if item[1][0] >= seen and item[1][1] >= floor]
        self._shown = dict(kept[-MAX_SHOWN:])
