"""The pure parts of workflows: answers as models write them, days, long texts, plans and their places."""

import json
import time
import tracemalloc
from typing import Any

import pytest
from django.db import DataError, InterfaceError, OperationalError

from llm_gateway.admin import step_picture
from llm_gateway.workflows import answers, asking, filling, given, kinds, moments, pieces, plans
from llm_gateway.workflows.answers import Malformed
from moolai.errors import InvalidInput

pytestmark = pytest.mark.once
SCHEMA = kinds.meeting_schema(("topics",))
GOOD = '{"topics": ["a", "b"]}'


@pytest.mark.parametrize(
    ("said", "is_repaired"),
    [
        (GOOD, False),
        (f"  {GOOD}\n", False),
        (f"```json\n{GOOD}\n```", True),
        (f"Sure! Here it is:\n{GOOD}\nAnything else?", True),
        ('<think>{"topics": 1}</think>{"topics": ["a", "b",],}', True),
        ("Of {course}: " + GOOD, True),
        (f"<think>{{}}</think> {GOOD} <thinking>", True),
    ],
)
def test_cheap_faults_of_an_answer_are_repaired(said: str, is_repaired: bool) -> None:
    assert answers.read(said, SCHEMA) == ({"topics": ["a", "b"]}, is_repaired)


@pytest.mark.parametrize(
    ("said", "place"),
    [
        ("", "it is not JSON"),
        ("I would rather not.", "it is not JSON"),
        ('{"topics": [', "it is not JSON"),
        ("{" * 5000, "it is not JSON"),
        ('{"topics": NaN}', "it is not JSON"),
        ('{"topics": [1e999]}', "it is not JSON"),
        ('{"topics": ["secret", 7]}', "topics.1 breaks “type”"),
        ('{"topics": [], "secret": 1}', "the object breaks “additionalProperties”"),
    ],
)
def test_what_is_wrong_is_told_the_model_and_written_down_without_content(said: str, place: str) -> None:
    with pytest.raises(Malformed) as fault:
        answers.read(said, SCHEMA)
    assert fault.value.place == place
    assert "secret" not in str(fault.value)


def test_an_answer_can_be_shown_and_its_own_names_are_not_written_down() -> None:
    half = json.loads('"\\ud800"')
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "integer"}}
    assert answers.read('{"a": "x\\ud800", "\\ud800": 1}', schema) == ({"a": "x?", "?": 1}, True)
    assert answers.read('{"a": "\\ud83d\\ude00"}', schema) == ({"a": "\U0001f600"}, False)
    with pytest.raises(Malformed) as fault:
        answers.read(json.dumps({f"my secret{half}": "no"}), schema)
    assert fault.value.place == "* breaks “type”"
    began = time.monotonic()
    with pytest.raises(Malformed):
        answers.read("<think>" * 20_000, schema)
    assert time.monotonic() - began < 1


def test_a_database_that_does_not_answer_is_tried_again() -> None:
    assert [asking.failure(error("secret")).is_transient for error in (OperationalError, InterfaceError)] == [True] * 2
    assert str(asking.failure(DataError("secret"))) == "internal_error: DataError"


def test_days_are_read_where_nothing_is_guessed() -> None:
    for text in ("2026-12-01", "by December 1st, 2026", "1 Dec 2026", "01.12.2026", "due 2026-12-01 at noon"):
        assert moments.day(text) == "2026-12-01", text
    assert moments.day(None) is None
    for text in ("", "next Friday", "12/01/26", "2026-13-40", "December"):
        assert moments.day(text) is None, text


def test_a_long_text_is_cut_at_its_lines_and_nothing_of_it_is_lost() -> None:
    lines = [f"{number}: {'x' * (number % 90)}\n" for number in range(900)] + ["y" * 5000]
    cut = pieces.cut("".join(lines), most=2000)
    assert all(0 < len(piece) <= 2500 for piece in cut)
    whole = "".join(cut)
    assert all(line in whole for line in lines[:-1])
    assert whole.count("y") >= 5000
    assert pieces.cut("short", most=2000) == ["short"]
    assert pieces.batches([1, 2, 3, 4], [5, 5, 50, 1], most_items=2, most_size=10) == [[1, 2], [3], [4]]
    parts: list[dict[str, Any]] = [
        {"all": [{"task": "Do it.", "owner": None}]}, {"all": [{"task": "do  it", "owner": "Ann"}]}, {},
    ]  # fmt: skip
    assert pieces.merged(parts, "all", key="task") == [{"task": "Do it.", "owner": "Ann"}]


def test_places_are_filled_once_and_only_with_what_there_is() -> None:
    data = {"text": "hello {{input.name}}", "name": "Ann", "deep": {"list": ["x", {"y": 2}]}}
    text = "{{text}}|{{ input.deep.list.1.y }}|{{input.nobody}}|{{steps.a.rows}}|{not} {{}}"
    assert filling.fill(text, data, {"a": {"rows": [1, 2]}}) == "hello {{input.name}}|2||[1, 2]|{not} {{}}"
    assert filling.needs(text) == ["a"]
    assert filling.wrong("{{secrets.key}} {{text}}") == "secrets.key"


def test_filling_a_text_takes_no_more_memory_than_what_it_may_come_to() -> None:
    data = {"texts": ["x" * 300_000] * 3}
    tracemalloc.start()
    try:
        filled = filling.fill("a {{text}} b" * 60, data, {})
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (len(filled), filled[:4], most < 10_000_000) == (filling.MAX_CHARACTERS, "a xx", True)


def test_inputs_are_known_by_the_names_people_use() -> None:
    talk = [{"speaker": "Ann", "text": "Hi.", "time": "10:00"}, "noise", {"text": "Yes."}]
    assert given.whole({"transcript": talk}) == "[10:00] Ann: Hi.\nnoise\nYes."
    assert [(one.id, one.text) for one in given.texts({"documents": ["a", {"id": 7, "content": "b"}]})] == [
        ("0", "a"), ("7", "b"),
    ]  # fmt: skip
    assert given.labels({"labels": ["a", {"name": "b"}, "a"]}) == ["a", "b"]
    wrong: list[dict[str, Any]] = [{}, {"text": " "}, {"texts": []}, {"texts": "a"}, {"text": {"a": 1}}]
    for data in wrong:
        with pytest.raises(InvalidInput):
            given.texts(data)


def prompt(**more: Any) -> dict[str, Any]:
    return {"name": "p", "type": "prompt", "prompt": "Say {{text}}", **more}


@pytest.mark.parametrize(
    ("steps", "place"),
    [
        ([], "steps"),
        ([prompt()] * 21, "steps"),
        ([{"type": "magic"}], "steps.0.type"),
        ([prompt(color="red")], "steps.0.color"),
        ([prompt(name="a b")], "steps.0.name"),
        ([prompt(), prompt()], "steps.1.name"),
        ([prompt(prompt=" ")], "steps.0.prompt"),
        ([prompt(prompt="{{env.KEY}}")], "steps.0.prompt"),
        ([prompt(prompt="{{text}}" * 51)], "steps.0.prompt"),
        ([prompt(prompt="{{steps.later.text}}"), prompt(name="later")], "steps.0.prompt"),
        ([prompt(system="{{steps.later.text}}", after=["later"])], "steps.0.system steps.0.after"),
        ([prompt(after=["p"])], "steps.0.after"),
        ([prompt(max_tokens=0)], "steps.0.max_tokens"),
        ([prompt(temperature="hot")], "steps.0.temperature"),
        ([prompt(schema={"type": "array"})], "steps.0.schema"),
        ([prompt(schema={"type": "object", "properties": {"a": {"$ref": "https://x"}}})], "steps.0.schema"),
        ([{"type": "classification", "categories": [""]}], "steps.0.categories"),
        ([{"type": "meeting_intelligence", "outputs": ["mood"]}], "steps.0.outputs"),
    ],
)
def test_a_plan_that_cannot_be_run_is_refused_at_its_place(steps: Any, place: str) -> None:
    with pytest.raises(InvalidInput) as problem:
        plans.parse(steps)
    assert list(problem.value.fields) == place.split()


def test_a_plan_knows_what_has_to_run_for_what_is_wanted() -> None:
    plan = plans.parse([prompt(), "embedding", {"type": "classification", "input": "{{steps.p.text}}"}, "embedding"])
    assert [(step["name"], step["after"]) for step in plan] == [
        ("p", []), ("embedding", []), ("classification", ["p"]), ("embedding_4", []),
    ]  # fmt: skip
    assert plans.needed(plan, ["classification"]) == {"p", "classification"}
    assert plans.following(plan, ["p"]) == {"p", "classification"}
    names = [f"s{number}" for number in range(plans.MAX_STEPS)]
    dense = plans.parse([prompt(name=name, after=names[:number]) for number, name in enumerate(names)])
    began = time.monotonic()
    assert plans.following(dense, ["s1"]) == set(names[1:])
    assert plans.following(dense, ["other"]) == {"other"}
    depths = step_picture.depths({step["name"]: step["after"] for step in dense})
    assert list(depths.values()) == list(range(plans.MAX_STEPS))
    assert time.monotonic() - began < 0.5
    assert plans.wanted(plan, [], kind="own") == [step["name"] for step in plan]
    assert plans.parse(json.loads(json.dumps(plan))) == plan
    assert [step["name"] for step in plans.of_kind("hybrid", {"transcript": "a"})] == [
        "meeting_intelligence", "embedding",
    ]  # fmt: skip
