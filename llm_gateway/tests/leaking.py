"""What the provider of the tests says when it is asked for personal data: `[leak]` in a request."""

import json
from typing import Any

LEAK = ["Write", " to ann.", "lee@mail.exa", "mple or pay 4111 1111", " 1111 1111", " at once."]


def words(body: dict[str, Any], usual: list[str]) -> list[str]:
    """Return the pieces of an answer."""
    return LEAK if "[leak]" in json.dumps(body) else usual
