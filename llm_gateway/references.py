"""References: inputs that a request names instead of holding them, and what each may come to. Pure.

Nobody here sees what lies behind an address or an id. The amounts are tokens, and lean on what providers publish:
OpenAI counts a picture of 2,048 by 2,048 pixels as up to 48,169 (gpt-4o-mini; other models less), Anthropic a page of
a PDF as up to 3,000; 200,000 is the context of Anthropic's models, and more than that of most of OpenAI's.
"""

from typing import Final

from llm_gateway.reading import Document, document

IMAGE_TOKENS: Final = 50_000  # of each picture, also one that is sent in place: its bytes say little of its size
FILE_TOKENS: Final = 200_000  # of each file, sound, upload or earlier item that is not sent in place
EARLIER_TOKENS: Final = 200_000  # of a conversation, an earlier response, or a prompt that the provider keeps
_IMAGES: Final = frozenset(("image", "image_url", "input_image"))
_FILES: Final = frozenset(("file", "input_file", "document", "container_upload", "item_reference"))
_EARLIER: Final = ("previous_response_id", "conversation")


def tokens(body: Document) -> int:
    """Return how many tokens the named inputs of a surface's request may come to, besides its bytes."""
    total = sum(EARLIER_TOKENS for name in _EARLIER if body.get(name))
    if type(body.get("prompt")) is dict:  # elsewhere it is the text itself
        total += EARLIER_TOKENS
    for name in ("messages", "input"):
        items = body.get(name)
        if type(items) is list:
            total += _listed(items)
    return total


def _listed(items: list[object]) -> int:
    total = 0
    for item in items:
        if type(item) is not dict:
            continue
        kind = item.get("type")
        if kind is not None and type(kind) is str:
            total += IMAGE_TOKENS if kind in _IMAGES else FILE_TOKENS if kind in _FILES and not _holds(item) else 0
        if type(item.get("audio")) is dict:
            total += FILE_TOKENS
        for name in ("content", "output"):
            parts = item.get(name)
            if type(parts) is list:
                total += _listed(parts)
    return total


def _holds(item: Document) -> bool:
    """Say whether a file is sent in place: then its bytes are counted."""
    inner = document(item.get("file")) or document(item.get("source")) or item
    return any(inner.get(name) for name in ("file_data", "data", "content"))
