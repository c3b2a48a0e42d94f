"""Jobs: work over many rows in pieces, by whichever worker holds the job's lease. The row is the queue.

`board`: post, cancel and wake; `running`: claim a job and do its pieces, each exactly once. A piece is what the handler
of the kind says (`install`, from the table in `moolai/wiring.py`). A kind without a handler is only tracked here.
"""

from orchestrators.jobs.board import cancel, move, on_cancel, on_wake, post, track
from orchestrators.jobs.running import Handlers, Lengthy, Piece, Renew, claim, drain, install, run

__all__ = [
    "Handlers",
    "Lengthy",
    "Piece",
    "Renew",
    "cancel",
    "claim",
    "drain",
    "install",
    "move",
    "on_cancel",
    "on_wake",
    "post",
    "run",
    "track",
]
