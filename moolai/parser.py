"""What a request may look like on the wire: h11's parser with sizes, and no way to smuggle a second request past it."""

import re
from typing import Any, Final, NamedTuple

import h11

HEAD_LIMIT_BYTES: Final = 16 * 1024
HEAD_LIMIT_FIELDS: Final = 100
BODY_LIMIT_BYTES: Final = 1024 * 1024
GATEWAY_BODY_LIMIT_BYTES: Final = 10 * 1024 * 1024
SPARE_CHUNKS: Final = 1024  # beyond these a chunk must carry 16 bytes on average, or it is work without content
ALLOWED: Final = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
_GATEWAY: Final = re.compile(rb"/v1/(chat/completions|completions|embeddings|responses|messages)/?(\?|$)")
_LENGTH: Final = re.compile(rb"\ncontent-length:([^\r\n]*)")


class Refusal(NamedTuple):
    """Why a request is not read: a code of `errors.CODES`, and its detail where the code's own does not say enough."""

    code: str
    detail: str = ""


def body_limit(target: bytes) -> int:
    """Return how many bytes a request to `target` may carry: prompts are longer than everything else."""
    return GATEWAY_BODY_LIMIT_BYTES if _GATEWAY.match(target) else BODY_LIMIT_BYTES


def _told(error: Exception) -> str:
    """Return what h11 minds in one sentence, without the line that it quotes: that may hold a credential."""
    text = str(error).partition(": bytearray(")[0][:200]
    return f"{text[:1].upper()}{text[1:]}."


class Parser(h11.Connection):
    """A server's parser that stops with a `refusal` where h11 would raise, or read on."""

    def __init__(self) -> None:
        super().__init__(h11.SERVER, HEAD_LIMIT_BYTES)
        self.refusal: Refusal | None = None
        self.request: h11.Request | None = None
        self.limit_bytes = self.body_bytes = self.chunks = 0

    @property
    def has_part_of_head(self) -> bool:
        """Whether a request has begun whose head is not complete yet."""
        return self.their_state is h11.IDLE and bool(self.trailing_data[0])

    def next_event(self) -> Any:
        """Return the next event, or NEED_DATA for ever once the request is refused."""
        if self.refusal is not None:
            return h11.NEED_DATA
        before = self.trailing_data[0] if self.their_state is h11.IDLE else b""
        try:
            event = super().next_event()
        except h11.RemoteProtocolError as error:
            is_too_long = error.error_status_hint == 431
            self.refusal = Refusal("headers_too_large") if is_too_long else Refusal("bad_request", _told(error))
            return h11.NEED_DATA
        if type(event) is h11.Request:
            self.request = event
            self.refusal = self._judge_head(event, before[: len(before) - len(self.trailing_data[0])])
        elif type(event) is h11.Data:
            self.refusal = self._judge_data(event)
        return event if self.refusal is None else h11.NEED_DATA

    def _judge_head(self, request: h11.Request, head: bytes) -> Refusal | None:
        """Refuse what is too large, and what two servers could read as two different requests (RFC 9112 §5.2, §6)."""
        if len(head) > HEAD_LIMIT_BYTES or len(request.headers) > HEAD_LIMIT_FIELDS:
            return Refusal("headers_too_large")
        if request.method in (b"TRACE", b"CONNECT"):
            return Refusal("method_not_allowed")
        if request.http_version not in (b"1.1", b"1.0"):
            return Refusal("bad_request", "Speak HTTP/1.1.")
        if b"\n " in head or b"\n\t" in head:
            return Refusal("bad_request", "A header is folded over several lines.")
        self.limit_bytes, self.body_bytes, self.chunks = body_limit(request.target), 0, 0
        fields = head.lower()  # as they were sent: h11 drops a repeated length
        lengths = _LENGTH.findall(fields) if b"\ncontent-length:" in fields else []
        is_chunked = b"\ntransfer-encoding:" in fields
        if len(lengths) + is_chunked > 1 or (lengths and b"," in lengths[0]):
            return Refusal("bad_request", "The length of the body is given twice.")
        if is_chunked and request.http_version == b"1.0":
            return Refusal("bad_request", "HTTP/1.0 has no Transfer-Encoding.")
        return Refusal("payload_too_large") if lengths and int(lengths[0]) > self.limit_bytes else None

    def _judge_data(self, data: h11.Data) -> Refusal | None:
        self.body_bytes += len(data.data)
        self.chunks += data.chunk_start
        if self.body_bytes > self.limit_bytes:
            return Refusal("payload_too_large")
        if self.chunks > SPARE_CHUNKS + self.body_bytes // 16:
            return Refusal("bad_request", "The chunks of the body are too small.")
        return None
