"""Detectors: secrets and personal data, by what they look like and by their check digits. Pure.

Every detector takes time in proportion to the text: patterns have bounded repetitions that cannot overlap, and most
texts are passed over by a search for a few characters. A span is (start, end, kind).
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Final

Span = tuple[int, int, str]
MAX_SPACED: Final = 64  # characters of a find that may hold blanks, but for private keys
MAX_RUN: Final = 4_096  # … of one without blanks
MAX_BLOCK: Final = 16_384  # … of a private key

_PREFIXES: Final = (
    "sk-", "k_live_", "k_test_", "AKIA", "ASIA", "ghp_", "gho_", "ghs_", "ghu_", "ghr_", "github_pat_", "glpat-", "xox",
    "AIza", "hf_", "npm_", "pypi-", "SG.", "mk_", "shpat_", "dop_v1_",
)  # fmt: skip
_KEY: Final = re.compile(
    r"""(?<![A-Za-z0-9_])(?:
        sk-(?=[A-Za-z_\-]{0,64}[0-9])[A-Za-z0-9_\-]{16,255} | [rsp]k_(?:live|test)_[A-Za-z0-9]{16,255}
        | (?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9]) | gh[opsur]_[A-Za-z0-9]{36,255} | github_pat_[A-Za-z0-9_]{40,255}
        | glpat-[A-Za-z0-9_\-]{20,255} | xox[abeoprs]-[A-Za-z0-9\-]{10,255} | AIza[A-Za-z0-9_\-]{35,64}
        | hf_[A-Za-z0-9]{30,64} | npm_[A-Za-z0-9]{36,64} | pypi-[A-Za-z0-9_\-]{40,255}
        | SG\.[A-Za-z0-9_\-]{16,64}\.[A-Za-z0-9_\-]{16,128} | mk_[A-Za-z0-9_\-]{40,255} | shpat_[a-f0-9]{32}
        | dop_v1_[a-f0-9]{64}
    )""",
    re.VERBOSE | re.ASCII,
)
_JWT: Final = re.compile(
    r"(?<![A-Za-z0-9_\-])eyJ[A-Za-z0-9_\-]{5,1000}\.[A-Za-z0-9_\-]{5,2000}\.[A-Za-z0-9_\-]{0,1024}"
)
_BEGIN: Final = re.compile(r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----")
_NUMBERISH: Final = re.compile(r"\d[\d ().\-/]{7}")
_CARD: Final = re.compile(
    r"(?<![\d.])(?:[2-6]\d{12,18}|[2-6]\d{3}([ -])\d{4}\1\d{4}\1\d{4}(?:\1\d{1,3})?|3[47]\d\d([ -])\d{6}\2\d{5})(?!\d)",
    re.ASCII,
)
_IBAN: Final = re.compile(
    r"(?<![A-Za-z0-9])[A-Z]{2}\d\d(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![A-Za-z0-9])", re.ASCII
)
_PHONE: Final = re.compile(
    r"(?<![\w+])\+\d(?:[ .\-/()]{0,2}\d){7,14}(?!\d)|(?<![\w.+\-])(?:\(\d{3}\) ?|\d{3}[-. ])\d{3}[-. ]\d{4}(?![\w-])",
    re.ASCII,
)
_SSN: Final = re.compile(r"(?<![\w-])(?!000|666|9)\d{3}-(?!00)\d\d-(?!0000)\d{4}(?![\w-])", re.ASCII)
_LOCAL: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._%+-'"
_DOMAIN: Final = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9\-]{0,61}[A-Za-z0-9])?\.){1,8}[A-Za-z]{2,24}(?![A-Za-z0-9])")
_NUMBERS: Final = frozenset({"iban", "credit_card", "ssn", "phone"})  # what holds eight digits and blanks in a row
# How long an IBAN is, by its country (ISO 13616).
_LENGTHS: Final[Mapping[str, int]] = dict(
    item for length, countries in {
        15: "NO", 16: "BE", 18: "DK FI FO GL NL", 19: "MK SI", 20: "AT BA EE KZ LT LU XK", 21: "CH HR LI LV",
        22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM", 24: "AD CZ ES MD PK RO SA SE SK TN VG",
        25: "LY PT ST", 26: "IS TR", 27: "BI FR GR IT MC MR SM", 28: "AL AZ BY CY DO GT HU LB NI PL SV",
        29: "BR PS QA UA", 30: "JO KW MU YE", 31: "MT SC", 32: "LC", 33: "RU",
    }.items() for item in ((country, length) for country in countries.split())
)  # fmt: skip


def find(text: str, kinds: Collection[str]) -> list[Span]:
    """Return what the detectors of `kinds` find, in order, without overlaps: what begins first, and is longest."""
    found: list[Span] = []
    if not _NUMBERISH.search(text):
        kinds = [kind for kind in kinds if kind not in _NUMBERS]
    for kind in kinds:
        found += [(start, end, kind) for start, end in DETECTORS[kind](text)]
    if len(found) < 2:
        return found
    found.sort(key=lambda span: (span[0], -span[1]))
    kept = found[:1]
    for span in found[1:]:
        if span[0] >= kept[-1][1]:
            kept.append(span)
    return kept


def replaced(text: str, spans: Collection[Span]) -> str:
    """Return the text with a placeholder in the place of each span: `[EMAIL]`."""
    parts, place = [], 0
    for start, end, kind in spans:
        parts += [text[place:start], f"[{kind.upper()}]"]
        place = end
    return "".join([*parts, text[place:]]) if parts else text


def _keys(text: str) -> Iterator[tuple[int, int]]:
    if any(prefix in text for prefix in _PREFIXES):
        yield from (match.span() for match in _KEY.finditer(text))


def _jwts(text: str) -> Iterator[tuple[int, int]]:
    if "eyJ" in text:
        yield from (match.span() for match in _JWT.finditer(text))


def _private_keys(text: str) -> Iterator[tuple[int, int]]:
    """Yield whole blocks; one whose end is missing lasts to the end of the text, as far as a block may last."""
    place = 0
    while (begun := text.find("-----BEGIN ", place)) >= 0:
        match = _BEGIN.match(text, begun)
        place = begun + 11
        if match is None:
            continue
        last = begun + MAX_BLOCK
        ends = text.find("-----END ", match.end(), last)
        closed = text.find("-----", ends + 9, last) if ends >= 0 else -1
        place = closed + 5 if closed >= 0 else min(len(text), last)
        yield begun, place


def _emails(text: str) -> Iterator[tuple[int, int]]:
    at, least = text.find("@"), 0
    while at >= 0:
        before = text[max(least, at - 64) : at]
        start = at - len(before) + len(before.rstrip(_LOCAL))
        domain = _DOMAIN.match(text, at + 1, at + 260) if start < at else None
        if domain:
            yield start, domain.end()
            least = domain.end()
        at = text.find("@", at + 1)


def _cards(text: str) -> Iterator[tuple[int, int]]:
    for match in _CARD.finditer(text):
        end = next((end for end in _ends(match[0]) if _is_luhn(match[0][:end])), 0)
        if end:
            yield match.start(), match.start() + end


def _ends(words: str) -> Iterator[int]:
    """Yield where a card's number may end: at the end, or before a last group that is shorter than four."""
    yield len(words)
    head = words.rstrip("0123456789")
    if head and len(words) > 19:
        yield len(head) - 1


def _is_luhn(words: str) -> bool:
    digits = [int(letter) for letter in reversed(words) if letter.isdigit()]
    doubled = (digit * 2 - 9 if digit > 4 else digit * 2 for digit in digits[1::2])
    return len(digits) >= 13 and (sum(digits[::2]) + sum(doubled)) % 10 == 0


def _ibans(text: str) -> Iterator[tuple[int, int]]:
    for match in _IBAN.finditer(text):
        length = _LENGTHS.get(match[0][:2], 0)
        places = [place for place, letter in enumerate(match[0]) if letter != " "][:length]
        compact = "".join(match[0][place] for place in places)
        if (
            length
            and len(compact) == length
            and int("".join(str(int(one, 36)) for one in compact[4:] + compact[:4])) % 97 == 1
        ):
            yield match.start(), match.start() + places[-1] + 1


def _phones(text: str) -> Iterator[tuple[int, int]]:
    yield from (match.span() for match in _PHONE.finditer(text))


def _ssns(text: str) -> Iterator[tuple[int, int]]:
    yield from (match.span() for match in _SSN.finditer(text))


DETECTORS: Final[Mapping[str, Callable[[str], Iterator[tuple[int, int]]]]] = {
    "private_key": _private_keys,
    "jwt": _jwts,
    "api_key": _keys,
    "iban": _ibans,
    "credit_card": _cards,
    "ssn": _ssns,
    "email": _emails,
    "phone": _phones,
}
