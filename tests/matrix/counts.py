"""How many cells there are: (row, caller) pairs, each one call with one expected outcome."""

from tests.matrix import routes
from tests.matrix.people import GOOD, PARTS
from tests.matrix.rows import ROWS


def cells() -> dict[str, int]:
    """Return {what: number of cells}."""
    reads = sum(row.method == "GET" for row in ROWS)
    return {
        "HTTP rows x callers": len(ROWS) * len(PARTS),
        "HEAD": reads * len(PARTS),
        "refused methods": len(list(routes.refused())) * len(GOOD),
    }


def lines() -> list[str]:
    """Return what there is to say, a line each."""
    found = cells()
    head = f"{len(set(routes.served()))} routes and methods, {len(ROWS)} rows, {len(PARTS)} callers"
    return [head, *(f"{number:>6} {what}" for what, number in found.items()), f"{sum(found.values()):>6} cells"]
