"""Recording: what a client is sent, kept aside while it is sent. Pure."""

from llm_gateway.cache.entries import MAX_BYTES


class Recording:
    """The parts of an answer in the surface's form, as long as they are no more than an entry may hold."""

    __slots__ = ("_parts", "_size")

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, part: bytes) -> None:
        """Take a part; with one too many the others are forgotten."""
        self._size += len(part)
        if self._size <= MAX_BYTES:
            self._parts.append(part)
        else:
            self._parts.clear()

    @property
    def content(self) -> bytes | None:
        """Return all of it, None when it was too much or nothing."""
        return b"".join(self._parts) or None
