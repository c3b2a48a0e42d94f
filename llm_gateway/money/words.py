"""Words: how a limit that a call does not fit into is told to whoever made the call. Pure."""

from datetime import UTC, datetime
from typing import Final

from llm_gateway.money import limits, windows

WINDOWS: Final = {"day": "day", "week": "week", "month": "month"}
RATES: Final = {"requests": "requests a minute", "tokens": "tokens a minute", "calls": "calls at once"}
SMALLER: Final = "send a smaller `max_tokens`, which bounds what is set aside before a call"


def whose(subject: str) -> str:
    """Return who a limit is for: `this key`, `this organization`, `the model gpt-4o`."""
    kind, _, name = subject.partition(":")
    if kind == limits.MODEL:
        return f"the model {name.partition('/')[2]}"
    return "this key" if kind == limits.KEY else "this organization"


def budget(subject: str, window: str, *, limit: int, left: int, need: int, end_at: float) -> str:
    """Return why a call of at most `need` micro-dollars does not fit into a budget of which `left` are free."""
    until = "" if end_at >= windows.FOREVER else f" It begins anew at {_moment(end_at)}."
    of = f"The budget of {whose(subject)}" + (f" for this {window}" if window in WINDOWS else "")
    if need > limit:
        whole = f"the whole budget of {whose(subject)} is {usd(limit)}"
        return f"This call may cost up to {usd(need)}, and {whole}: {SMALLER}."
    if left <= 0:
        return f"{of} is spent, or set aside for calls under way.{until}"
    return f"{of} has {usd(left)} left, and this call may cost up to {usd(need)}: {SMALLER}.{until}"


def rate(subject: str, unit: str, *, limit: int, need: int) -> str:
    """Return why a call does not fit into a limit of `requests`, `tokens` or `calls`."""
    if need > limit and unit == "tokens":
        return f"This call counts for up to {need} tokens, and {whose(subject)} has {limit} a minute: {SMALLER}."
    return f"The limit of {whose(subject)}, {limit} {RATES[unit]}, is reached."


def usd(micros: int) -> str:
    """Return micro-dollars as dollars, with as many digits as they have, two at least."""
    cents, rest = f"{micros // 1_000_000}.{micros % 1_000_000:06}"[:-4], f"{micros % 10_000:04}".rstrip("0")
    return f"${cents}{rest}"


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
