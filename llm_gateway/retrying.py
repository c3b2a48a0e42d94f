"""Retrying: whether another attempt at a call may end better, for everything that tries again. Pure."""

from typing import Final

# Nobody but a person can mend these, whatever status they come with.
NO_RETRY: Final = frozenset({"insufficient_quota", "provider_not_configured", "provider_refused_key"})
HOPEFUL: Final = frozenset({408, 425, 429})
# Where no status says it: streams that broke off, failures that were written down, and our own.
TRANSIENT: Final = frozenset({
    "api_error", "bad_provider_answer", "database_unavailable", "overloaded", "overloaded_error", "provider_error",
    "provider_timeout", "provider_unavailable", "provider_unreachable", "rate_limit_error", "rate_limit_exceeded",
    "rate_limited", "resource_exhausted", "server_error", "stream_interrupted", "timeout_error",
})  # fmt: skip


def may_help(code: str, *, status: int = 0) -> bool:
    """Whether another attempt may help after an answer of `status` (0: none, or none that says it) with this code."""
    if code in NO_RETRY:
        return False
    if status in (0, 200):
        return code in TRANSIENT
    return status in HOPEFUL or status >= 500
