"""How many cells there are: (row, caller) pairs, each one call with one expected outcome."""

from tests.matrix import frames, routes
from tests.matrix.people import DEAD, GOOD, PARTS, roles, some
from tests.matrix.rows import ROWS


def cells() -> dict[str, int]:
    """Return {what: number of cells}."""
    reads = sum(row.method == "GET" for row in ROWS)
    good = sum(len(roles(row.answer, turn=0)) for row in ROWS)
    return {
        "HTTP rows x callers": good + len(ROWS) * len(some(DEAD, turn=0)),
        "HEAD": reads * len(some(PARTS, turn=0)),
        "refused methods": len(list(routes.refused())) * (len(some(GOOD, turn=0)) + 1) // 2,
        "/ws: opening frames and topics": (len(frames.OPENING) + len(frames.TOPICS)) * len(PARTS),
        "/ws: other first frames": len(frames.LATER) * len(GOOD),
        "/ws: frames of sessions and dashboards": len(frames.SESSION) * (1 + len(frames.WATCHERS)),
    }


def lines() -> list[str]:
    """Return what there is to say, a line each."""
    found = cells()
    head = f"{len(set(routes.served()))} routes and methods, {len(ROWS)} rows, {len(PARTS)} callers"
    return [head, *(f"{number:>6} {what}" for what, number in found.items()), f"{sum(found.values()):>6} cells"]
