"""CSV: what a spreadsheet would run is text, what holds commas and lines stays one cell."""

import csv
import io
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orgs import spreadsheet

pytestmark = pytest.mark.once


def read(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode(), newline="")))


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\0"])
def test_a_formula_is_prefixed_and_quoted(start: str) -> None:
    data = spreadsheet.encode([[f'{start}cmd|" /C calc"!A0', "plain"]])
    assert data.startswith(b"\"'")
    assert b"\0" not in data
    rest = start.replace("\0", "")
    assert read(data) == [[f'\'{rest}cmd|" /C calc"!A0', "plain"]]


def test_a_nul_before_a_formula_does_not_hide_it() -> None:
    assert spreadsheet.cell("\0=1+1") == "'=1+1"
    assert spreadsheet.cell("a\0b") == "ab"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        ("", ""),
        ("Zoë, “Ltd”", "Zoë, “Ltd”"),
        ('two\r\nlines "and" quotes', 'two\r\nlines "and" quotes'),
        (-5, "-5"),
        (1.5, "1.5"),
        (True, "true"),
        ({"b": 1, "a": "ü"}, '{"a": "ü", "b": 1}'),
        (["=x"], '["=x"]'),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02T03:04:05Z"),
        ("a'b", "a'b"),
    ],
)
def test_every_kind_of_value_is_one_cell(value: Any, text: str) -> None:
    assert read(spreadsheet.encode([[value, "end"]])) == [[text, "end"]]


def test_lines_end_in_cr_lf_and_texts_stand_in_quotes() -> None:
    assert spreadsheet.encode([["a", 1], ['b"c', 2]]) == b'"a",1\r\n"b""c",2\r\n'


def test_half_a_character_does_not_break_the_file() -> None:
    assert spreadsheet.encode([["a\ud800b"]]) == b'"a?b"\r\n'


@given(st.lists(st.text(), min_size=1, max_size=5))
def test_no_text_begins_a_cell_with_a_formula(texts: list[str]) -> None:
    [row] = read(spreadsheet.encode([texts]))
    assert len(row) == len(texts)
    assert not any(text.startswith(spreadsheet.FORMULA_STARTS) for text in row)
