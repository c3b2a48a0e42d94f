"""Words: texts of a deny-list, as literals with `*` for the rest of a word. Pure.

There are no expressions to run away: a text is cut into its words once, and only entries whose first word is among them
are looked for, each in one pass. Case does not matter; blanks between words may be up to eight of any kind.
"""

import re
from collections.abc import Iterable
from typing import Final

MAX_LENGTH: Final = 100
MAX_STAR: Final = 64
MAX_BLANKS: Final = 8
_WORDS: Final = re.compile(r"\w+")


class Words:
    """The entries of one list."""

    def __init__(self, entries: Iterable[str]) -> None:
        self._by_word: dict[str, list[re.Pattern[str]]] = {}
        self._others: list[tuple[str, re.Pattern[str]]] = []
        for entry in entries:
            self._take(" ".join(entry.casefold().split()))

    def are_in(self, text: str) -> bool:
        """Say whether a text holds one of the entries."""
        folded = text.casefold()
        if any(needle in folded and pattern.search(folded) for needle, pattern in self._others):
            return True
        if not self._by_word:
            return False
        known = self._by_word.keys() & set(_WORDS.findall(folded))
        return any(pattern.search(folded) for word in known for pattern in self._by_word[word])

    def _take(self, entry: str) -> None:
        """File an entry under its first word; one that has no plain one, under the characters it begins with."""
        pattern = re.compile(_expression(entry))
        first = _WORDS.match(entry)
        if first and first[0].isascii() and entry[first.end() : first.end() + 1] != "*":
            self._by_word.setdefault(first[0], []).append(pattern)
        else:
            self._others.append((entry.partition("*")[0].partition(" ")[0], pattern))


def problem(entry: object) -> str:
    """Return what is wrong with an entry, nothing when it is good."""
    if not isinstance(entry, str) or not entry.strip() or len(entry) > MAX_LENGTH or not entry.isprintable():
        return f"Write a word or a phrase of at most {MAX_LENGTH} characters."
    if entry.count("*") > 1 and not _is_plain(entry.split()[0][0]):  # it is looked for at every letter
        return "What begins with a sign, or in a script without blanks between words, has one * at most."
    if any(word.startswith("*") or word.count("*") > 2 or "**" in word for word in entry.split()):
        return "A * stands for the rest of a word or a part of it: not at its beginning, and at most twice."
    return ""


def _expression(entry: str) -> str:
    """Return the entry as an expression; where it begins and ends with a letter of ours, it is whole words."""
    body = rf"\s{{1,{MAX_BLANKS}}}".join(
        rf"\w{{0,{MAX_STAR}}}".join(re.escape(part) for part in word.split("*")) for word in entry.split()
    )
    before = r"(?<!\w)" if _is_plain(entry[0]) else ""
    after = r"(?!\w)" if _is_plain(entry[-1]) else ""
    return before + body + after


def _is_plain(letter: str) -> bool:
    """Whether a letter belongs to a script that has blanks between words, as far as that can be told: below U+0590."""
    return (letter.isalnum() or letter == "_") and letter < "\u0590"
