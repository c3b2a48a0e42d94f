"""What must not stand in the source: dangerous calls, SQL made of values, secrets compared by letters."""

import ast
import json
import re
import subprocess
import sys

import pytest

from moolai.celery import app as celery
from moolai.testing.product import PROJECT
from tests import source

pytestmark = pytest.mark.once

DANGEROUS = {"eval", "exec", "pickle", "marshal", "shelve", "dill", "yaml.load", "os.system", "os.popen", "mark_safe"}
# What is put into these texts of SQL comes from the source: names of tables and columns, and placeholders.
SQL_FROM_NAMES = {
    "llm_gateway/money/books.py",
    "llm_gateway/money/rows.py",
    "monitoring/analytics/api_calls.py",
    "monitoring/analytics/samples.py",
    "monitoring/metrics/reading.py",
    "monitoring/metrics/storage.py",
    "moolai/backup/tables.py",
    "orchestrators/configuration/desired.py",
    "orchestrators/configuration/statuses.py",
    "orchestrators/presence.py",
    "orgs/counters.py",
}
SQL = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|DROP|CREATE|ALTER|TRUNCATE|COPY|WITH|PRAGMA|LOCK)\b[^a-z]", re.ASCII)
CLAIMS = "orchestrators/claims.py"  # asks whether a client's two words are the same, and knows no secret itself
SECRET = re.compile(r"(^|_)(secret|token|password|signature|digest|mac|secret_hash|session_auth_hash)$")


def test_bandit_finds_nothing_serious() -> None:
    rooms = [str(PROJECT / room) for room in source.ROOMS]
    command = [sys.executable, "-m", "bandit", "-q", "-r", *rooms, "-x", "*/tests/*", "-f", "json", "-lll"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=110)
    found = json.loads(done.stdout)
    assert found["metrics"]["_totals"]["loc"] > 5_000
    assert [(one["filename"], one["line_number"], one["issue_text"]) for one in found["results"]] == []


def dotted(node: ast.AST) -> str:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=name):
            return f"{dotted(value)}.{name}"
    return ""


def dangers(tree: ast.Module) -> list[int]:
    """Return the lines that import or call what is DANGEROUS, or start a shell."""
    found = []
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                used = {name.name for name in names}
            case ast.ImportFrom(module=module, names=names):
                used = {module or "", *(name.name for name in names)}
            case ast.Call(func=func, keywords=keywords):
                is_shell = any(
                    word.arg == "shell" and getattr(word.value, "value", None) is not False for word in keywords
                )
                used = {dotted(func)} | ({"os.system"} if is_shell else set())
            case _:
                continue
        found += [node.lineno] if used & DANGEROUS else []
    return found


@pytest.mark.parametrize(
    "text",
    [
        "eval('1')",
        "import pickle",
        "from pickle import loads",
        "yaml.load(x)",
        "run('x', shell=True)",
        "os.system('x')",
    ],
)
def test_the_search_itself_finds_dangers(text: str) -> None:
    assert dangers(ast.parse(text)) == [1]


def test_nothing_dangerous_is_called() -> None:
    assert [(path, lines) for path, tree in source.trees() if (lines := dangers(tree))] == []


def put_together(tree: ast.Module) -> list[int]:
    """Return the lines where a text of SQL is made from parts."""
    found = []
    for node in ast.walk(tree):
        match node:
            case ast.JoinedStr(values=[ast.Constant(value=str() as text), *_]) if SQL.match(text + " "):
                found.append(node.lineno)
            case ast.BinOp(op=ast.Mod() | ast.Add(), left=ast.Constant(value=str() as text)) if SQL.match(text + " "):
                found.append(node.lineno)
            case ast.Call(func=ast.Attribute(value=ast.Constant(value=str() as text), attr="format")) if SQL.match(
                text
            ):
                found.append(node.lineno)
            case ast.Call(func=ast.Attribute(attr="execute"), args=[ast.Call(func=ast.Attribute(attr="format")), *_]):
                found.append(node.lineno)
    return found


@pytest.mark.parametrize(
    "text", ["f'SELECT * FROM x WHERE a = {b}'", "'DELETE FROM x WHERE a = %s' % b", "'UPDATE x SET a=' + b",
             "'SELECT {}'.format(b)", "cursor.execute(TEXT.format(b))"],
)  # fmt: skip
def test_the_search_itself_finds_sql(text: str) -> None:
    assert put_together(ast.parse(text)) == [1]


def test_sql_is_put_together_from_names_only_and_in_few_places() -> None:
    found = {path: lines for path, tree in source.trees() if (lines := put_together(tree))}
    assert set(found) == SQL_FROM_NAMES, found


def test_a_secret_is_never_compared_with_an_equals_sign() -> None:
    """`hmac.compare_digest` takes as long for a near miss as for any other; keys are found by their hash."""
    found = []
    for path, tree in source.trees():
        for node in ast.walk(tree) if path != CLAIMS else ():
            if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Eq | ast.NotEq):
                sides = [dotted(side).rpartition(".")[2] for side in (node.left, *node.comparators)]
                found += [f"{path}:{node.lineno}" for side in sides if SECRET.search(side)]
    assert found == []


def test_celery_reads_and_writes_nothing_but_json() -> None:
    assert celery.conf.accept_content == ["json"]
    assert celery.conf.task_serializer == celery.conf.result_serializer == "json"
    assert (celery.conf.event_serializer, celery.conf.task_ignore_result) == ("json", True)


def test_no_secret_is_a_task_argument() -> None:
    """Rows are the queue: a task is a wake-up that carries nothing."""
    calls = source.calls("delay", "apply_async", "send_task")
    senders = [
        place for place, call in calls if len(call.args) > 1 or {"args", "kwargs"} & {key.arg for key in call.keywords}
    ]
    assert calls
    schedule = celery.conf.beat_schedule.values()
    assert schedule
    assert [entry for entry in schedule if entry.get("args") or entry.get("kwargs")] == []
    assert senders == []
