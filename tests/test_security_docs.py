"""docs/security.md: every item stands in it, and every test it names exists."""

import ast
import re

import pytest

from moolai.testing.product import PROJECT
from tests.source import parse

pytestmark = pytest.mark.once

TEXT = (PROJECT / "docs" / "security.md").read_text()
ROWS = {int(number): shown for number, shown in re.findall(r"^\| (\d+) \|.*\| (.*) \|$", TEXT, re.MULTILINE)}
NAMED = sorted(set(re.findall(r"`([\w/]+\.py)::(\w+)`", TEXT)))
LATER = {30}


def test_every_item_stands_in_the_table_and_is_shown_or_said_to_come() -> None:
    assert set(ROWS) == set(range(1, 32))
    assert {number for number, shown in ROWS.items() if "::" not in shown} == LATER
    for number in LATER:
        assert re.search(rf"^\| {number} \|.*comes? with", TEXT, re.MULTILINE), f"say with what {number} comes"


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_every_named_test_exists(path: str, name: str) -> None:
    tree = parse(PROJECT / path)
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("command", sorted(set(re.findall(r"`manage\.py (\w+)", TEXT)) - {"check"}))
def test_every_named_command_exists(command: str) -> None:
    assert list(PROJECT.glob(f"*/management/commands/{command}.py"))
