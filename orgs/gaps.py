"""Gaps: the ids below the newest one read that have not appeared, as ranges in order; a reader asks for them again."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from operator import attrgetter
from typing import NamedTuple


class Gap(NamedTuple):
    """The ids from `first` to `last`, asked for until the monotonic time `until`."""

    first: int
    last: int
    until: float


class Gaps:
    """At most `most` gaps in the order of their ids; whatever would make more of them is refused."""

    def __init__(self, gaps: Iterable[Gap] = (), *, most: int) -> None:
        self.most = most
        self._gaps = list(gaps)

    def __len__(self) -> int:
        return len(self._gaps)

    def __iter__(self) -> Iterator[Gap]:
        return iter(self._gaps)

    def copy(self) -> "Gaps":
        """Return the same gaps, to be changed apart from these."""
        return Gaps(self._gaps, most=self.most)

    def open(self, first: int, last: int, *, until: float) -> bool:
        """Add the ids from `first` to `last`, which lie above all others; False when there is no room."""
        if first > last:
            return True
        if len(self._gaps) >= self.most:
            return False
        self._gaps.append(Gap(first, last, until))
        return True

    def close(self, pk: int, *, asked_at: float) -> bool:
        """Take out `pk`, which appeared in a read of `asked_at`; False when the two parts left are one too many.

        Ids are closed in their order, so that read has nothing below `pk`: an overdue gap keeps what is above it.
        """
        place = bisect_right(self._gaps, pk, key=attrgetter("first")) - 1
        gap = self._gaps[place]
        parts = [Gap(pk + 1, gap.last, gap.until)] if pk < gap.last else []
        if gap.first < pk and gap.until > asked_at:
            parts.insert(0, Gap(gap.first, pk - 1, gap.until))
        if len(self._gaps) - 1 + len(parts) > self.most:
            return False
        self._gaps[place : place + 1] = parts
        return True

    def give_up(self, *, asked_at: float, below: float) -> None:
        """Forget what a read of `asked_at`, which returned everything under the id `below`, was the last to ask for."""
        self._gaps = [gap for gap in self._gaps if gap.until > asked_at or gap.last >= below]
