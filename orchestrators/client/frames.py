"""Frames as text and back: encoding, decoding and the local size limit. Touches no socket."""

import json
import uuid
from typing import Any

Frame = dict[str, Any]

MAX_FRAME_BYTES = 256 * 1024
"""The controller closes with 1009 above this (PROTOCOL §3)."""


class FrameError(ValueError):
    """A frame that the controller would refuse, and that therefore was not sent."""


class FrameTooLargeError(FrameError):
    """A frame over 256 KiB."""


def encode(frame: Frame) -> bytes:
    """Return the frame as UTF-8 JSON.

    Raises FrameTooLargeError over 256 KiB; FrameError for NaN, infinities, lone surrogates and what JSON lacks.
    """
    try:
        data = json.dumps(frame, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise FrameError(f"the {frame.get('type')} frame is not valid JSON: {error}") from error
    if len(data) > MAX_FRAME_BYTES:
        raise FrameTooLargeError(f"the {frame.get('type')} frame has {len(data)} bytes; the limit is {MAX_FRAME_BYTES}")
    return data


def decode(raw: str | bytes) -> Frame | None:
    """Return the frame in `raw`, or None when it is not a JSON object with a string `type`."""
    try:
        frame = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    if isinstance(frame, dict) and isinstance(frame.get("type"), str):
        return frame
    return None


def new_id() -> str:
    """Return a fresh message id."""
    return uuid.uuid4().hex


def text_of(error: BaseException) -> str:
    """Return what an exception says, at most 500 characters, for the `error` field of an answer."""
    return (str(error) or type(error).__name__)[:500].encode(errors="replace").decode()
