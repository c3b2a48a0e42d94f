"""Slices: what this process holds of the windows of one limit, in memory alone."""

from dataclasses import dataclass, field
from typing import Final

from llm_gateway.money import windows
from llm_gateway.money.limits import Limit
from llm_gateway.money.windows import Window

Name = tuple[str, str, str, int]  # subject, unit, window, when it began

LOW: Final = 4  # a slice is filled up when less than this part of what it was is left


@dataclass(slots=True, eq=False)
class Slice:
    """A part of one window: `free` of it can be reserved now (negative is owed), calls that are under way hold `held`.

    `granted` is the figure of the row `lease` that `free` was last brought up to, less what is `returning` to it;
    `left` is what no process held then.
    """

    organization_id: str
    subject: str
    unit: str
    window: str
    start_at: int
    end_at: float
    limit: int
    free: int = 0
    held: int = 0
    low: int = 0
    lease: int = 0
    granted: int = 0
    returning: int = 0
    left: int = 0
    is_short: bool = False
    is_wanted: bool = False
    is_retired: bool = False
    short_until: float = 0.0
    used_at: float = 0.0

    @property
    def name(self) -> Name:
        """How its row is named."""
        return self.subject, self.unit, self.window, self.start_at

    def fill(self, *, lease: int, before: int, granted: int, returned: int, is_short: bool) -> None:
        """Take over what the row says this process holds, and held `before`; `returned` was sent with the question.

        A new lease means that the old one was taken away: what calls under way hold of it is owed.
        """
        if lease != self.lease:
            self.lease, self.granted, self.free = lease, before, -self.held
            returned, self.returning = 0, 0
        self.free += granted - self.granted + returned
        self.returning -= returned
        self.granted, self.is_short = granted, is_short
        self.low = 0 if is_short or self.unit == "calls" else self.free // LOW

    def is_idle(self, since: float) -> bool:
        """Whether nothing of it is held and nobody used it after `since` (monotonic)."""
        return self.used_at < since and self.free <= 0 and not self.held and not self.returning


@dataclass(slots=True, eq=False)
class Account:
    """The slices of one limit in the windows that hold now: from `start_at` until before `ends_at`."""

    organization_id: str
    limit: Limit
    slices: list[Slice] = field(default_factory=list)
    retired: dict[Name, Slice] = field(default_factory=dict)
    start_at: float = 0.0
    ends_at: float = 0.0

    def is_under(self, limit: Limit) -> bool:
        """Whether the slices were made for this very limit."""
        return self.limit is limit or self.limit == limit

    def bring_up_to_date(self, limit: Limit, now: float) -> tuple[list[Slice], list[Slice]]:
        """Have the slices that the limit and the time ask for; return those that hold no longer, and those that shrank.

        A slice whose window goes on is kept, under the new limit: its row must have one reader here.
        """
        if self.slices and self.is_under(limit) and self.start_at <= now < self.ends_at:
            return [], []
        known = self.retired | {part.name: part for part in self.slices}
        self.limit, self.slices, shrunk = limit, [], []
        for unit, window, most in _wanted(limit):
            fresh = self._slice(unit, window, most, now)
            part = known.pop(fresh.name, fresh)
            self.slices.append(part)
            if most < part.limit:
                shrunk.append(part)
            if part.limit != most or part.is_retired:
                part.limit, part.is_retired, part.is_short, part.short_until = most, False, False, 0.0
        self.start_at = max((part.start_at for part in self.slices), default=0)
        self.ends_at = min((part.end_at for part in self.slices), default=windows.FOREVER)
        self.retired = {name: part for name, part in known.items() if part.end_at > now}
        return list(self.retired.values()), shrunk

    def is_idle(self, since: float) -> bool:
        """Whether nothing of it is held and nobody used it after `since` (monotonic)."""
        return all(part.is_idle(since) for part in (*self.slices, *self.retired.values()))

    def _slice(self, unit: str, window: str, limit: int, now: float) -> Slice:
        start_at, end_at = windows.start(window, now), windows.end(window, now)
        return Slice(self.organization_id, self.limit.subject, unit, window, start_at, end_at, limit)


def _wanted(limit: Limit) -> list[tuple[str, str, int]]:
    """Return (unit, window, most) of what a limit limits."""
    found = [
        ("usd_micros", limit.window, limit.budget_usd_micros),
        ("requests", Window.MINUTE, limit.requests_per_minute),
        ("tokens", Window.MINUTE, limit.tokens_per_minute),
        ("calls", Window.TOTAL, limit.max_parallel),
    ]
    return [(unit, str(window), most) for unit, window, most in found if most is not None]
