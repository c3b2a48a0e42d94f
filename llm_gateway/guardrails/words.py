"""Words: texts of a deny-list, as literals with `*` for the rest of a word. Pure.

There are no expressions to run away. A text is cut into its words once; where one of them begins an entry, all entries
that begin so are compared at that place in one go, as branches of a tree. Case does not matter; blanks between words
may be up to eight of any kind.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

MAX_LENGTH: Final = 100
MAX_STAR: Final = 64
MAX_BLANKS: Final = 8
_WORDS: Final = re.compile(r"\w+")
_BLANK: Final = rf"\s{{1,{MAX_BLANKS}}}"
_STAR: Final = rf"\w{{0,{MAX_STAR}}}"
_MORE: Final = rf"\w{{0,{2 * MAX_STAR}}}"
Tree = dict[str, Any]  # a piece of an expression → what may follow; "" → {}: an entry ends here


class Words:
    """The entries of one list."""

    def __init__(self, entries: Iterable[str]) -> None:
        by_word: dict[str, Tree] = {}
        by_letter: dict[str, Tree] = {}
        needles: set[str] = set()
        for entry in (" ".join(entry.casefold().split()) for entry in entries):
            first = _WORDS.match(entry)
            if first and first[0].isascii() and entry[first.end() : first.end() + 1] != "*":
                _grow(by_word.setdefault(first[0], {}), entry)
            else:
                needles.add(entry.partition("*")[0].partition(" ")[0])
                _grow(by_letter.setdefault(entry[0], {}), entry)
        self._by_word, self._by_letter, self._needles = _compiled(by_word), _compiled(by_letter), tuple(needles)
        self._letters = re.compile(f"[{''.join(map(re.escape, by_letter))}]" if by_letter else r"(?!)")

    def are_in(self, text: str) -> bool:
        """Say whether a text holds one of the entries."""
        folded = text.casefold()
        if any(needle in folded for needle in self._needles) and _is_met(folded, self._letters, self._by_letter):
            return True
        if not self._by_word or self._by_word.keys().isdisjoint(_WORDS.findall(folded)):
            return False
        return _is_met(folded, _WORDS, self._by_word)


def _is_met(text: str, places: re.Pattern[str], known: Mapping[str, re.Pattern[str]]) -> bool:
    """Say whether an entry stands at one of the places that it may begin at."""
    for place in places.finditer(text):
        pattern = known.get(place[0])
        if pattern is not None and pattern.match(text, place.start()):
            return True
    return False


def reach(entry: str) -> int:
    """Return how many characters of text an entry may match at most."""
    stars = sum(word.count("*") * (word.count("*") + 1) // 2 for word in entry.split())
    return len(entry) + stars * MAX_STAR + entry.count(" ") * MAX_BLANKS + 1


def problem(entry: object) -> str:
    """Return what is wrong with an entry, nothing when it is good."""
    if not isinstance(entry, str) or not entry.strip() or len(entry) > MAX_LENGTH or not entry.isprintable():
        return f"Write a word or a phrase of at most {MAX_LENGTH} characters."
    if entry.count("*") > 1 and not _is_plain(entry.split()[0][0]):  # it is looked for at every letter
        return "What begins with a sign, or in a script without blanks between words, has one * at most."
    if any(word.startswith("*") or word.count("*") > 2 or "**" in word for word in entry.split()):
        return "A * stands for the rest of a word or a part of it: not at its beginning, and at most twice."
    return ""


def _grow(tree: Tree, entry: str) -> None:
    """Add an entry's branch; where it begins and ends with a letter of ours, it is whole words."""
    pieces = [r"(?<!\w)"] if _is_plain(entry[0]) else []
    words = entry.split()
    for place, word in enumerate(words):
        is_last = place == len(words) - 1
        pieces += [_starred(word, is_last=is_last)] if "*" in word else map(re.escape, word)
        pieces += [] if is_last else [_BLANK]
    pieces += [r"(?!\w)"] if _is_plain(entry[-1]) else []
    for piece in pieces:
        tree = tree.setdefault(piece, {})
    tree[""] = {}


def _starred(word: str, *, is_last: bool) -> str:
    """Return a word with a `*` as an expression that is never tried a second way.

    The part between two stars is the first of its kind: a later one leaves the rest no more room. A word that another
    follows ends where a blank is.
    """
    first, second, *more = map(re.escape, word.split("*"))
    body = rf"(?>{first}{_STAR}?{second}){_MORE}{more[0]}" if more else f"{first}{_STAR}{second}"
    return body if is_last else rf"(?>{body}(?=\s))"


def _compiled(trees: Mapping[str, Tree]) -> dict[str, re.Pattern[str]]:
    return {name: re.compile(_expression(tree)) for name, tree in trees.items()}


def _expression(tree: Tree) -> str:
    """Return a tree as an expression; a branch without a fork is written in a loop: an entry may be long."""
    said = ""
    while len(tree) == 1:
        piece, tree = next(iter(tree.items()))
        said += piece
    if not tree:
        return said
    if "" in tree:  # what is longer holds the shorter entry
        return said
    return f"{said}(?:{'|'.join(piece + _expression(more) for piece, more in tree.items())})"


def _is_plain(letter: str) -> bool:
    """Whether a letter belongs to a script that has blanks between words, as far as that can be told: below U+0590."""
    return (letter.isalnum() or letter == "_") and letter < "\u0590"
