"""Where writers write to: a file of a directory that is gone with its block, with a limit on its size."""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

from django.conf import settings

from moolai.errors import AppError

STALE_SECONDS: Final = 24 * 3600  # what a worker that was killed left behind goes after this


@contextmanager
def directory() -> Iterator[Path]:
    """Open a directory of one's own in DATA_DIR/exports, mode 0700; it is gone afterwards."""
    base = Path(settings.DATA_DIR) / "exports"
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    _tidy(base)
    with tempfile.TemporaryDirectory(dir=base) as name:
        yield Path(name)


def _tidy(base: Path) -> None:
    for entry in base.iterdir():
        with suppress(OSError):
            if entry.stat().st_mtime < time.time() - STALE_SECONDS:
                shutil.rmtree(entry)


class Sink:
    """A file to write to (mode 0600); `on_write` is called with every write, and what is too large is refused."""

    def __init__(self, folder: Path, *, on_write: Callable[[], None]) -> None:
        self.file: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 — closed by whoever has the sink
        self.on_write, self.closed, self.is_abandoned = on_write, False, False
        self.most_bytes = settings.EXPORT_MAX_MB * 1024 * 1024

    def write(self, data: bytes) -> int:
        """Write, unless that makes the file too large: raises `payload_too_large`."""
        if self.is_abandoned:
            return len(data)
        written = self.file.write(data)
        if self.file.tell() > self.most_bytes:
            raise too_large()
        self.on_write()
        return written

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to a place in the file."""
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        """Return the place in the file."""
        return self.file.tell()

    def seekable(self) -> bool:
        """Say that `seek` works."""
        return True

    def flush(self) -> None:
        """Do nothing: what reads the file is this process."""

    def abandon(self) -> None:
        """Let go whatever is written from now on."""
        self.is_abandoned = True

    def close(self) -> None:
        """Take nothing more; the file stays to be read."""
        self.closed = True


def too_large() -> AppError:
    """Return what a file over the limit is refused with."""
    return AppError(
        "payload_too_large",
        f"The file is larger than {settings.EXPORT_MAX_MB} MB (EXPORT_MAX_MB): choose a shorter time range, fewer "
        "metrics or a filter.",
    )
