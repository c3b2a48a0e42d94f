"""The product's own source as syntax trees, for tests that keep lists and documents complete."""

import ast
import gc
from collections.abc import Iterator
from pathlib import Path

from moolai.testing.product import PROJECT

ROOMS = ("moolai", "orgs", "orchestrators", "llm_gateway", "monitoring")
LEFT_OUT = ("tests", "testing", "migrations", "client")


def parse(path: Path) -> ast.Module:
    """Return a file's syntax tree.

    Without the garbage collector meanwhile: of what earlier tests left it may run code that prints a traceback, which
    reads a line's syntax too, and CPython 3.11 takes the two for one (SystemError, “recursion depth mismatch”).
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(path.read_text(), str(path))
    finally:
        if was_on:
            gc.enable()


def trees() -> Iterator[tuple[str, ast.Module]]:
    """Yield (path from the root, tree) of every file of the running controller."""
    for room in ROOMS:
        for path in sorted((PROJECT / room).rglob("*.py")):
            name = path.relative_to(PROJECT)
            if not set(name.parts) & set(LEFT_OUT):
                yield str(name), parse(path)


def calls(*names: str) -> Iterator[tuple[str, ast.Call]]:
    """Yield (place, call) for every call of a function or class of one of `names`."""
    for path, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and called(node) in names:
                yield f"{path}:{node.lineno}", node


def called(node: ast.Call) -> str:
    """Return the last part of the name that is called."""
    match node.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def texts(node: ast.AST | None) -> list[str]:
    """Return the strings an argument may be: a literal, or either branch of a conditional one."""
    match node:
        case ast.Constant(value=str() as text):
            return [text]
        case ast.IfExp(body=one, orelse=other):
            return texts(one) + texts(other)
    return []
