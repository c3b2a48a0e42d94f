"""Configuration: what each orchestrator should run (desired), what it says it runs (reported), and how that went.

`publishing` and `rollouts` change it, `versions` is its history, `desired` brings it to rows and frames, `statuses`
takes in what comes back, `documents` knows what a document is.
"""

from orchestrators.configuration.desired import (
    Body,
    attach,
    bodies,
    frame,
    head,
    readable,
    refresh,
    republish,
    standings,
)
from orchestrators.configuration.documents import difference, digest
from orchestrators.configuration.publishing import begin, follow, publish, rollback, validate
from orchestrators.configuration.statuses import Report, check, store

__all__ = [
    "Body",
    "Report",
    "attach",
    "begin",
    "bodies",
    "check",
    "difference",
    "digest",
    "follow",
    "frame",
    "head",
    "publish",
    "readable",
    "refresh",
    "republish",
    "rollback",
    "standings",
    "store",
    "validate",
]
