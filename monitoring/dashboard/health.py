"""The topic `system_health`: how the controller and what it needs are, in a word each; nothing of any organization.

Who can say so is composed elsewhere (`install`): asking takes up to a second and may need Redis, so it has its own
thread, and one answer serves everybody for `FRESH_SECONDS`.
"""

import time
from collections.abc import Callable
from typing import Any, Final

from monitoring.dashboard.topics import Frame, Scope

FRESH_SECONDS: Final = 1.0
_source: Callable[[], dict[str, Any]] = dict
_last: tuple[float, Frame] = (float("-inf"), {})


def install(source: Callable[[], dict[str, Any]]) -> None:
    """Have `source` say how things are: `status`, and `dependencies` by name."""
    global _source, _last
    _source, _last = source, (float("-inf"), {})


def frame() -> Frame:
    """Return the `system_health` frame of this moment."""
    global _last
    asked_at, found = _last
    if time.monotonic() - asked_at >= FRESH_SECONDS:
        found = {"type": "system_health", **_source()}
        _last = time.monotonic(), found
    return found


def frames(scope: Scope) -> list[Frame]:
    """Return the one frame, which is the same for everybody."""
    return [frame()]
