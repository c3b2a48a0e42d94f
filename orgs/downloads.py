"""Files as answers: read piece by piece while they are sent, never kept in a browser's or a proxy's cache."""

from collections.abc import AsyncIterator, Iterator

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, StreamingHttpResponse


def answer(
    request: HttpRequest, pieces: Iterator[bytes], *, file_name: str, content_type: str, size_bytes: int | None = None
) -> StreamingHttpResponse:
    """Return the answer that sends `pieces` as a file; memory holds one of them at a time.

    With `size_bytes` a file that breaks off is seen to be cut. `file_name` has no quotes and no line ends.
    """
    headers = {
        "Content-Disposition": f'attachment; filename="{file_name}"',
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }
    if size_bytes is not None:
        headers["Content-Length"] = str(size_bytes)
    body = _threaded(pieces) if isinstance(request, ASGIRequest) else pieces
    return StreamingHttpResponse(body, content_type=content_type, headers=headers)


async def _threaded(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Read the pieces one by one in the request's thread: Django would collect a plain iterator in memory first."""
    fetch = sync_to_async(lambda: next(pieces, None))
    while (piece := await fetch()) is not None:
        yield piece
