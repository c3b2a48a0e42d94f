"""A guard: all rules that hold on one side of a call; and texts that are held back while they come.

Pure, but that a guard with a `side` counts what it does.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from llm_gateway.guardrails import counts, detectors
from llm_gateway.guardrails.detectors import MAX_BLOCK, MAX_RUN, MAX_SPACED
from llm_gateway.guardrails.words import Words

SLICE: Final = 32_768  # characters that are looked at in one go
_BREAK: Final = re.compile(r"[^!-~]")


class Blocked(Exception):
    """A text that does not pass; `rule` is the name of the rule, never the text."""

    def __init__(self, rule: str) -> None:
        super().__init__(rule)
        self.rule = rule


@dataclass(frozen=True, slots=True)
class Guard:
    """What is replaced (`redacts`), which finds block (`blocks`: kind → rule), and the lists of words, by rule.

    `side` is where it guards calls, one of `counts.SIDES`; one that only shows what it would do has none.
    """

    redacts: frozenset[str] = frozenset()
    blocks: Mapping[str, str] | None = None
    denies: Sequence[tuple[str, Words]] = ()
    reach: int = 0  # characters of the longest entry of a list
    side: str = ""

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.redacts or self.blocks or self.denies)

    @property
    def hold(self) -> int:
        """How many characters are held back at least while a text comes."""
        return max(MAX_SPACED, self.reach)

    def clean(self, text: str) -> str:
        """Return a text as it may pass; raises Blocked. A long one is looked at in slices."""
        if len(text) <= SLICE:
            return self._cleaned(text, len(text))[0]
        held = Held(self)
        parts = [held.feed(text[place : place + SLICE]) for place in range(0, len(text), SLICE)]
        return "".join([*parts, held.finish()])

    def _cleaned(self, text: str, cut: int) -> tuple[str, int]:
        """Return the text up to `cut` as it may pass, and where that ends: before a find that goes on."""
        for rule, words in self.denies:
            if words.are_in(text):
                raise self._blocked(rule)
        blocks = self.blocks or {}
        kinds = [kind for kind in detectors.DETECTORS if kind in self.redacts or kind in blocks]
        spans = detectors.find(text, kinds) if kinds else []
        for _, _, kind in spans:
            if kind in blocks:
                raise self._blocked(blocks[kind])
        whole = [span for span in spans if span[1] <= cut]
        cut = min([cut, *(start for start, end, _ in spans if start < cut < end)])
        if whole and self.side:
            counts.add(self.side, counts.REDACTED, len(whole))
        return detectors.replaced(text[:cut], whole), cut

    def _blocked(self, rule: str) -> Blocked:
        if self.side:
            counts.add(self.side, counts.BLOCKED)
        return Blocked(rule)


class Held:
    """A text that comes in parts: its end is held back until it is known that no find begins there.

    Held back are `guard.hold` characters (64, or the longest entry of a list with its blanks), the whole of a run of
    characters without blanks that the rest begins in (up to 4,096), and a private key that is not over (up to 16,384).
    """

    def __init__(self, guard: Guard) -> None:
        self._guard, self._waiting = guard, ""

    def feed(self, part: str) -> str:
        """Return what may be sent on; raises Blocked."""
        self._waiting += part
        cut = self._safe()
        return self._release(cut) if cut > 0 else ""

    def finish(self) -> str:
        """Return what is left; raises Blocked."""
        return self._release(len(self._waiting)) if self._waiting else ""

    def _safe(self) -> int:
        """Return how much of what waits no find can reach any more."""
        text = self._waiting
        cut = len(text) - self._guard.hold
        if cut <= 0:
            return 0
        found = _BREAK.search(text[max(0, cut - MAX_RUN) : cut][::-1])
        start = cut - found.start() if found else max(0, cut - MAX_RUN)
        if found is None and start:  # a run longer than any find: its beginning goes, as much at once as is kept
            start = start if start > MAX_RUN else 0
        cut = start
        begun = text.rfind("-----BEGIN ", 0, cut)
        if begun >= 0 and text.find("-----END ", begun) < 0 and len(text) - begun <= MAX_BLOCK:
            cut = begun
        return cut

    def _release(self, cut: int) -> str:
        said, end = self._guard._cleaned(self._waiting, cut)
        self._waiting = self._waiting[end:]
        return said
