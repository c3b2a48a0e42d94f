"""Guardrails without a server: what is found, what is not, however a text comes, and in time."""

import re
import time
from copy import deepcopy
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.guardrails import bodies, checking, detectors, rules
from llm_gateway.guardrails.detectors import DETECTORS
from llm_gateway.guardrails.guard import Blocked, Guard, Held
from llm_gateway.guardrails.streams import Cleaner
from llm_gateway.guardrails.words import Words, problem
from llm_gateway.problems import Refused
from llm_gateway.surfaces import chat, completions, messages, responses
from llm_gateway.tests.recorded import ANTHROPIC_EVENTS, openai_chunk, piece, sse
from llm_gateway.tests.streams import CALL, encode, events

pytestmark = pytest.mark.once
CARD, IBAN, MAIL = "4111 1111 1111 1111", "DE89 3704 0044 0532 0130 00", "ann.lee+x@mail.example.org"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
PEM = "-----BEGIN RSA PRIVATE KEY-----\n" + "MIIEpAIBAAKCAQEA\n" * 30 + "-----END RSA PRIVATE KEY-----"
ALL = Guard(redacts=frozenset(DETECTORS))


@pytest.mark.parametrize(
    ("kind", "text"),
    [("email", MAIL), ("credit_card", CARD), ("credit_card", "4111111111111111"), ("credit_card", "3782-822463-10005"),
     ("credit_card", "5555-5555-5555-4444"), ("iban", IBAN), ("iban", "GB82WEST12345698765432"),
     ("iban", "NL91ABNA0417164300"), ("phone", "+49 (30) 901820-12"), ("phone", "(212) 555-0142"),
     ("phone", "212-555-0142"), ("ssn", "219-09-9999"), ("jwt", JWT), ("private_key", PEM),
     ("api_key", "sk-proj-" + "a1B2" * 10), ("api_key", "AKIAIOSFODNN7EXAMPLE"), ("api_key", "ghp_" + "a1B2" * 9),
     ("api_key", "sk_live_" + "4eC39HqLyjWDarjt"), ("api_key", "AIza" + "SyD-9tSrke72PouQMnMX-a7eZSW0jkFMBWY"),
     ("api_key", "xoxb-123456789012-abcdefghij"), ("api_key", "mk_" + "Zx9_" * 11)],
)  # fmt: skip
@pytest.mark.parametrize("around", ["{}", "It is {}, is it not?", "→{}。", "({})\n", 'x="{}";'])
def test_what_is_a_secret_or_personal_is_replaced_and_nothing_around_it(kind: str, text: str, around: str) -> None:
    assert ALL.clean(around.format(text)) == around.format(f"[{kind.upper()}]")


@pytest.mark.parametrize(
    "text",
    ["4111 1111 1111 1112", "1234567890123456", "GB82WEST12345698765433", "000-12-3456", "219-00-1234",
     "version 1.2.3.4, 10.0.0.12:8080", "2026-11-21T23:59:59.123456Z", "a@b", "@ann", "see sk-learn and mk_dir",
     "npm_config_user_agent", "eyJust a word", "-----BEGIN CERTIFICATE-----", "order 2026-11-0000017",
     "3.141592653589793",
     "d41d8cd98f00b204e9800998ecf8427e", "f47ac10b-58cc-4372-a567-0e02b2c3d479", "", "Grüße, 🐧! 机密文件"],
)  # fmt: skip
def test_what_only_looks_alike_is_left(text: str) -> None:
    assert ALL.clean(text) == text


def test_several_finds_and_only_what_was_chosen() -> None:
    text = f"{MAIL} paid {IBAN} with {CARD} and {CARD} 12"
    assert ALL.clean(text) == "[EMAIL] paid [IBAN] with [CREDIT_CARD] and [CREDIT_CARD] 12"
    assert Guard(redacts=frozenset({"iban"})).clean(text) == text.replace(IBAN, "[IBAN]")
    with pytest.raises(Blocked) as told:
        Guard(redacts=frozenset({"email"}), blocks={"iban": "money"}).clean(text)
    assert told.value.rule == "money"


@pytest.mark.parametrize(
    ("entry", "text"),
    [("moon shot", "The MOON \n Shot!"), ("acme*", "acmeists"), ("c++", "in C++."), ("@evil", "ask @Evil"),
     ("größe", "die GRÖSSE"), ("机密", "这是机密文件"), ("pro*ct x", "product x"), ("it's", "so it's")],
)  # fmt: skip
def test_a_word_is_found_whatever_its_case_and_blanks(entry: str, text: str) -> None:
    assert problem(entry) == ""
    assert Words([entry, "other"]).are_in(text)


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ("moon shot", "moonshot"),
        ("art", "start artful"),
        ("acme*", "macme"),
        ("pro*ct x", "pro duct x"),
        ("a.b", "axb"),
    ],
)
def test_a_part_of_a_word_is_not(entry: str, text: str) -> None:
    assert not Words([entry]).are_in(text)


@given(
    st.lists(st.text("ab* -é+", min_size=1, max_size=12).filter(lambda entry: problem(entry) == ""), max_size=6),
    st.text("ab -é+", max_size=40),
)
def test_a_list_finds_what_its_entries_find_one_by_one(entries: list[str], text: str) -> None:
    assert Words(entries).are_in(text) == any(looked_for(entry, text) for entry in entries)


def looked_for(entry: str, text: str) -> bool:
    """Whether one entry is in a text, by an expression of its own."""
    words = [r"\w*".join(map(re.escape, word.split("*"))) for word in entry.split()]
    edges = [r"(?<!\w)" if entry.strip()[0] in "abé" else "", r"(?!\w)" if entry.strip()[-1] in "abé" else ""]
    return re.search(r"\s+".join(words).join(edges), text) is not None


# --- texts that come in parts -----------------------------------------------------------------------------------------

PIECES = [
    MAIL,
    CARD,
    IBAN,
    JWT,
    PEM,
    "219-09-9999",
    "+49 30 90182012",
    "word ",
    "\n",
    "x",
    "机密 ",
    "." * 70,
    " a" * 40,
]


@given(st.lists(st.sampled_from(PIECES), max_size=12), st.lists(st.integers(0, 4_000), max_size=20))
def test_however_a_text_is_cut_it_is_cleaned_as_a_whole(parts: list[str], places: list[int]) -> None:
    text = " ".join(parts)
    held = Held(ALL)
    edges = [0, *sorted({place % (len(text) + 1) for place in places}), len(text)]
    said = "".join(held.feed(text[start:end]) for start, end in pairwise(edges)) + held.finish()
    assert said == ALL.clean(text)
    for secret in (MAIL, CARD, IBAN, JWT, "MIIEpAIB"):
        assert secret not in said


def test_a_text_without_finds_is_told_as_it_comes_but_for_the_last_characters() -> None:
    held, told = Held(ALL), ""
    for number in range(200):
        told += held.feed(f"word{number} ")
    assert len("".join(f"word{number} " for number in range(200))) - len(told) < 80


def test_a_long_text_is_looked_at_in_slices_and_cleaned_all_the_same() -> None:
    text = f"{'word ' * 6_550}{MAIL} {PEM} {'x' * 40_000} {CARD}"
    found = ALL.clean(text)
    assert found == f"{'word ' * 6_550}[EMAIL] [PRIVATE_KEY] {'x' * 40_000} [CREDIT_CARD]"
    with pytest.raises(Blocked):
        Guard(denies=[("plans", Words(["moon shot"]))], reach=20).clean("a " * 20_000 + "moon  shot" + " b" * 20_000)


# --- bodies -----------------------------------------------------------------------------------------------------------


def test_every_text_of_a_request_is_cleaned_and_nothing_else() -> None:
    part = {"type": "image_url", "image_url": {"url": f"https://a.example/{MAIL}"}}
    call = {
        "id": MAIL,
        "type": "function",
        "function": {"name": "f", "arguments": orjson.dumps({"to": MAIL, "n": 1}).decode()},
    }
    body: dict[str, Any] = {
        "model": MAIL, "user": MAIL, "system": [{"type": "text", "text": MAIL}], "instructions": MAIL,
        "messages": [{"role": "user", "content": [{"type": "text", "text": MAIL}, part]},
                     {"role": "assistant", "content": None, "tool_calls": [call]},
                     {"role": "tool", "tool_call_id": MAIL, "content": MAIL}],
        "input": [MAIL, {"type": "document", "source": {"type": "text", "data": MAIL}}], "temperature": 1,
    }  # fmt: skip
    before = deepcopy(body)
    found = bodies.request(body, ALL.clean)
    assert (found["model"], found["user"], found["instructions"]) == (MAIL, MAIL, "[EMAIL]")
    assert found["messages"][0]["content"] == [{"type": "text", "text": "[EMAIL]"}, part]
    told = found["messages"][1]["tool_calls"][0]
    assert (told["id"], orjson.loads(told["function"]["arguments"])) == (MAIL, {"to": "[EMAIL]", "n": 1})
    assert (found["messages"][2]["tool_call_id"], found["messages"][2]["content"]) == (MAIL, "[EMAIL]")
    assert found["input"] == ["[EMAIL]", {"type": "document", "source": {"type": "text", "data": "[EMAIL]"}}]
    assert body == before


def test_a_body_without_finds_is_the_same_object() -> None:
    body = {"messages": [{"role": "user", "content": "hi"}], "tools": [{"function": {"description": "x"}}]}
    assert bodies.request(body, ALL.clean) is body


def test_what_a_field_is_called_lets_no_text_pass() -> None:
    """Arguments have any names, and a provider may take fields that nobody here has heard of."""
    used = {"type": "tool_use", "id": "t", "name": "f", "input": {"name": MAIL, "url": [MAIL], "id": {"data": MAIL}}}
    schema = {
        "type": "json_schema",
        "name": "n",
        "schema": {"description": MAIL, "properties": {"a": {"enum": [MAIL]}}},
    }
    body = {
        "messages": [{"role": "assistant", "content": [used]}], "documents": [{"body": MAIL}], "stop": [MAIL],
        "response_format": {"type": "json_schema", "json_schema": schema}, "text": {"format": schema},
        "metadata": {"who": "kept"},
    }  # fmt: skip
    found = bodies.request(body, ALL.clean)
    assert MAIL not in orjson.dumps(found).decode()
    assert found["messages"][0]["content"][0] == used | {
        "input": {"name": "[EMAIL]", "url": ["[EMAIL]"], "id": {"data": "[EMAIL]"}}
    }
    assert found["metadata"] == {"who": "kept"}
    assert (
        bodies.cleaned({"content": [used]}, ALL.clean, names=bodies.ANSWER)["content"]
        == found["messages"][0]["content"]
    )


def test_what_fields_are_called_is_a_text_too_where_it_is_no_plain_name() -> None:
    used = {
        "type": "tool_use",
        "id": "t",
        "name": "f",
        "input": {MAIL: 1, "ann@b.example": 2, "[EMAIL]": [{CARD: MAIL}]},
    }
    call = {
        "id": "c",
        "type": "function",
        "function": {"name": "f", "arguments": orjson.dumps({MAIL: {"to": 1}}).decode()},
    }
    schema = {
        "type": "object",
        "properties": {MAIL: {"type": "string"}, "name": {"description": MAIL}},
        "required": [MAIL],
    }
    body = {
        "messages": [{"role": "assistant", "content": [used], "tool_calls": [call]}],
        "tools": [{"name": "f", "input_schema": schema}], MAIL: 1,
    }  # fmt: skip
    found = bodies.request(body, ALL.clean)
    assert "example" not in orjson.dumps(found).decode()
    assert list(found) == ["messages", "tools", "[EMAIL]"]
    told = found["messages"][0]
    assert told["content"][0]["input"] == {
        "[EMAIL] 2": 1, "[EMAIL] 3": 2, "[EMAIL]": [{"[CREDIT_CARD]": "[EMAIL]"}]
    }  # fmt: skip
    assert orjson.loads(told["tool_calls"][0]["function"]["arguments"]) == {"[EMAIL]": {"to": 1}}
    assert found["tools"][0]["input_schema"] == {
        "type": "object",
        "properties": {"[EMAIL]": {"type": "string"}, "name": {"description": "[EMAIL]"}},
        "required": ["[EMAIL]"],
    }
    deny = Guard(denies=[("plans", Words(["content", "moon shot"]))], reach=20)
    assert bodies.request({"messages": [{"role": "user", "content": "hi"}]}, deny.clean)  # a field, not a word
    for named in ({"content": 1}, {"moon shot": 1}):
        with pytest.raises(Blocked):
            bodies.request({"messages": [{"content": [{**used, "input": named}]}]}, deny.clean)


async def test_what_is_nested_too_deep_to_be_looked_at_does_not_pass_and_breaks_nothing() -> None:
    deep = b'{"a":' * 400 + b"1" + b"}" * 400
    almost = b'{"content":' * 150 + b'"%b"' % MAIL.encode() + b"}" * 150
    assert MAIL.encode() not in await checking.answer(ALL, b'{"choices":%b}' % almost)  # type: ignore[operator]
    told = await checking.answer(ALL, b'{"choices":%b}' % deep)
    assert (told.status, told.code) == (502, "bad_provider_answer")  # type: ignore[union-attr]
    with pytest.raises(Refused):
        await checking.request(ALL, {"messages": [{"tool_calls": [{"arguments": deep.decode()}]}]}, size=9)
    for chunk in (b'{"choices":[{"index":0,"delta":{"x":%b}}]}' % deep, openai_chunk(piece(0, deep.decode()))):
        inner = Echoed(sse(chunk, openai_chunk({}, finish_reason="stop")))
        guarded = checking.Guarded(ALL, inner)
        said = guarded.feed(inner.data) + guarded.finish()
        assert (guarded.problem and guarded.problem.code, b'"a"' in said) == ("bad_provider_answer", False)


def test_arguments_stay_json() -> None:
    assert orjson.loads(bodies.json_text('{"card": 4111111111111111, "a": [null, true]}', ALL.clean)) == {
        "card": "[CREDIT_CARD]", "a": [None, True],
    }  # fmt: skip
    assert bodies.json_text(f"no json {MAIL}", ALL.clean) == "no json [EMAIL]"


# --- streams ----------------------------------------------------------------------------------------------------------

SAID = f"Write to {MAIL} and pay {CARD}. " + "Thank you. " * 20 + IBAN
CHUNKS = [openai_chunk({"role": "assistant", "content": ""})]
CHUNKS += [openai_chunk({"content": SAID[place : place + 3]}) for place in range(0, len(SAID), 3)]
CHUNKS += [openai_chunk(piece(0, "", id="c", name="f")), openai_chunk(piece(0, '{"to": "ann@a.')),
           openai_chunk(piece(0, 'example", "n": 41111111')), openai_chunk(piece(0, "11111111}")),
           openai_chunk({}, finish_reason="tool_calls")]  # fmt: skip


@pytest.mark.parametrize("surface", [chat, completions, messages, responses])
@pytest.mark.parametrize("size", [7, 100, 100_000])
def test_a_stream_is_cleaned_across_its_chunks_in_every_surface(surface: Any, size: int) -> None:
    data = encode(surface.encoder(request={}, **CALL), CHUNKS)
    cleaner = Cleaner(ALL)
    parts = [cleaner.feed(data[place : place + size]) for place in range(0, len(data), size)]
    found = b"".join(parts) + cleaner.finish()
    told = events(found)
    whole = "".join(text_of(event) for event in told)
    assert whole == ALL.clean(SAID)
    for secret in ("ann.", "ann@", "4111", "DE89", "3704"):
        assert secret not in found.decode()
    if surface is not completions:
        assert orjson.loads("".join(arguments_of(event) for event in told)) == {"to": "[EMAIL]", "n": "[CREDIT_CARD]"}
    assert found[-14:] == data[-14:] or told[-1]["type"] == "response.completed"
    numbers = [event["sequence_number"] for event in told if "sequence_number" in event]
    assert numbers == list(range(len(numbers)))


def text_of(event: dict[str, Any]) -> str:
    if event.get("type") == "content_block_delta":
        return str(event["delta"].get("text", ""))
    if event.get("type") == "response.output_text.delta":
        return str(event["delta"])
    return "".join(one.get("text") or one.get("delta", {}).get("content") or "" for one in event.get("choices", ()))


def arguments_of(event: dict[str, Any]) -> str:
    if event.get("type") == "content_block_delta":
        return str(event["delta"].get("partial_json", ""))
    if event.get("type") == "response.function_call_arguments.delta":
        return str(event["delta"])
    calls = [call for one in event.get("choices", ()) for call in one.get("delta", {}).get("tool_calls", ())]
    return "".join(call["function"].get("arguments", "") for call in calls)


def test_a_stream_has_no_field_that_passes_unseen() -> None:
    """Servers that speak OpenAI's dialect add fields; each would be a way around the guardrails."""
    half, rest = SAID[:40], SAID[40:]
    custom = {"index": 1, "id": "c", "type": "custom", "custom": {"name": "f"}}
    deltas: list[dict[str, Any]] = [
        {name: words, "function_call": {"arguments": call}, "tool_calls": [{**custom, "custom": {"input": words}}],
         "reasoning_details": [{"text": words}], "audio": {"transcript": MAIL}}
        for name, words, call in (("thoughts", half, '{"to": "ann.lee'), ("thoughts", rest, '+x@mail.example.org"}'))
    ]  # fmt: skip
    chunks = [openai_chunk(delta) for delta in deltas] + [openai_chunk({}, finish_reason="stop")]
    for chunk in chunks:
        chunk["choices"][0]["message"] = {"content": SAID}
    cleaner = Cleaner(ALL)
    found = cleaner.feed(sse(*chunks)) + cleaner.finish()
    told = [event["choices"][0]["delta"] for event in events(found)]
    assert "".join(delta.get("thoughts", "") for delta in told) == ALL.clean(SAID)
    inputs = [call["custom"].get("input", "") for delta in told for call in delta.get("tool_calls", ())]
    assert "".join(inputs) == ALL.clean(SAID)
    assert "".join(delta.get("function_call", {}).get("arguments", "") for delta in told) == '{"to":"[EMAIL]"}'
    for secret in ("ann.", "4111", "DE89"):
        assert secret not in found.decode()


def test_arguments_that_do_not_end_end_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "MAX_ARGUMENTS", 100)
    inner = Echoed(sse(*[openai_chunk(piece(0, "1" * 60)) for _ in range(2)]))
    guarded = checking.Guarded(ALL, inner)
    said = guarded.feed(inner.data) + guarded.finish()
    assert (guarded.problem and guarded.problem.code, guarded.is_refused, said) == ("bad_provider_answer", True, b"")


def test_anthropics_own_stream_is_cleaned_with_its_thoughts() -> None:
    thoughts = [{"type": "thinking_delta", "thinking": part} for part in (MAIL[:7], MAIL[7:])]
    delta = [{"type": "content_block_delta", "index": 0, "delta": one} for one in thoughts]
    data = sse(*ANTHROPIC_EVENTS[:3], *delta, *ANTHROPIC_EVENTS[5:], is_named=True)
    cleaner = Cleaner(ALL)
    found = events(cleaner.feed(data) + cleaner.finish())
    assert "".join(event["delta"].get("thinking", "") for event in found if "delta" in event) == "[EMAIL]"
    assert [event["type"] for event in found][-1] == "message_stop"


def test_a_stream_ends_where_a_word_is_denied() -> None:
    guard = Guard(denies=[("plans", Words(["moon shot"]))], reach=20)
    chunks = [openai_chunk({"content": part}) for part in ("a " * 60, "the mo", "on shot", " it is")]
    inner = Echoed(encode(chat.encoder(request={}, **CALL), chunks))
    guarded = checking.Guarded(guard, inner)
    pieces = (inner.data[place : place + 50] for place in range(0, len(inner.data), 50))
    said = b"".join(map(guarded.feed, pieces)) + guarded.finish()
    assert guarded.problem is not None
    assert (guarded.problem.status, guarded.problem.code, "plans" in guarded.problem.message) == (
        400,
        "content_blocked",
        True,
    )
    assert guarded.is_refused
    assert b"mo" not in said.replace(b"model", b"")
    assert b"[DONE]" not in said


class Echoed:
    """A relay that passes everything on."""

    problem, is_done, usage, output_characters = None, True, None, 0

    def __init__(self, data: bytes) -> None:
        self.data = data

    def feed(self, data: bytes) -> bytes:
        return data

    def finish(self) -> bytes:
        return b""


# --- rules ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "place"),
    [({}, "rules.0.kind"), ("x", "rules.0"), ({"kind": "deny", "name": "a"}, "rules.0.words"),
     ({"kind": "deny", "name": "a", "words": ["*x"]}, "rules.0.words.0"),
     ({"kind": "deny", "name": "a", "words": ["机*密*x"]}, "rules.0.words.0"),
     ({"kind": "deny", "name": "a", "words": ["x"], "action": "block"}, "rules.0.action"),
     ({"kind": "redact", "name": "", "detect": ["email"]}, "rules.0.name"),
     ({"kind": "redact", "name": "a", "detect": ["shoe size"]}, "rules.0.detect"),
     ({"kind": "redact", "name": "a", "on": []}, "rules.0.on"),
     ({"kind": "redact", "name": "a", "action": []}, "rules.0.action"),
     ({"kind": ["deny"], "name": "a"}, "rules.0.kind")],
)  # fmt: skip
def test_a_rule_that_makes_no_sense_is_refused_by_its_place(rule: Any, place: str) -> None:
    assert set(rules.normal([rule])[1]) == {place}


class Asked(dict[str, int]):
    """Counts how often it is asked for a name."""

    count = 0

    def __contains__(self, name: object) -> bool:
        self.count += 1
        return super().__contains__(name)


def test_many_names_that_become_the_same_are_told_apart_in_time_in_proportion() -> None:
    taken = Asked({"[EMAIL] 3": 1})
    found = [bodies._free("[EMAIL]", taken) for _ in range(1000)]
    assert found[:3] == ["[EMAIL]", "[EMAIL] 2", "[EMAIL] 4"]
    assert len(set(found)) == 1000
    assert taken.count < 3000


def test_rules_hold_on_the_side_they_name() -> None:
    found, wrong = rules.normal(
        [{"kind": "redact", "name": "mine"},
         {"kind": "deny", "name": "plans", "words": ["moon shot"], "on": ["answer"]},
         {"kind": "redact", "name": "cards", "detect": ["credit_card"], "action": "block", "on": ["answer"]}]
    )  # fmt: skip
    assert wrong == {}
    guards = rules.compiled(found)
    assert guards is not None
    assert guards.request.clean(f"moon shot {CARD}") == "moon shot [CREDIT_CARD]"
    for text, rule in (("a moon shot", "plans"), (CARD, "cards")):
        with pytest.raises(Blocked) as told:
            guards.answer.clean(text)
        assert told.value.rule == rule
    assert rules.compiled(found) is guards
    assert rules.compiled([]) is None
    assert set(rules.normal([found[0], found[0]])[1]) == {"rules.1.name"}
    after = rules.normal([found[0], "x", found[0] | {"name": {"a": []}}, found[0]])[1]
    assert set(after) == {"rules.1", "rules.2.name", "rules.3.name"}


def test_an_organization_has_so_many_words_in_all_its_lists() -> None:
    lists = [
        {"name": f"l{place}", "kind": "deny", "words": [f"w{place}x{n}" for n in range(500)]} for place in range(3)
    ]
    assert rules.normal(lists[:2])[1] == {}
    wrong = rules.normal(lists)[1]
    assert set(wrong) == {"rules"}
    assert "1000" in wrong["rules"]
    assert "1500" in wrong["rules"]


# --- work -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "unit",
    ["a", "1", "1 ", "4111 ", "a@", "@", "a" * 64 + "@b.", "eyJ", "eyJaaaaa.", "sk-", "-----BEGIN ", "+1 ", "DE89 ",
     "(212) ",
     "moon ", "moon" + " " * 9, "A1B2 ", "219-", "机", "xoxb-1"],
)  # fmt: skip
def test_a_hostile_text_takes_time_in_proportion_to_its_length(unit: str) -> None:
    guard = Guard(redacts=frozenset(DETECTORS), denies=[("d", Words(["moon shot x", "moo*n shot", "机密"]))], reach=200)
    text = unit * (200_000 // len(unit))
    began = time.process_time()
    guard.clean(text)
    assert time.process_time() - began < 1.5


@pytest.mark.parametrize(
    ("entries", "text"),
    [(["a*b*c " * 5 + "y"], ("a" + "b" * 40 + "c ") * 8),
     ([f"a*b*c{number:03d}" for number in range(500)], ("a" + "b" * 60 + " ") * 500),
     ([f"moon {number:03d}" for number in range(500)], "moon 1 " * 4_000),
     ([f"moon{number:03d}*" for number in range(500)], "moon1 " * 5_000),
     ([f"{chr(0x4E00 + number)}机" for number in range(500)], "".join(chr(0x4E00 + n % 500) for n in range(30_000))),
     (["a" * length for length in range(1, 100)], "a" * 30_000)],
    ids=["phrases of stars", "stars", "one word", "one beginning", "signs", "forks"],
)  # fmt: skip
def test_a_hostile_list_takes_time_in_proportion_to_the_text(entries: list[str], text: str) -> None:
    """Each took seconds or did not end where entries were looked for one by one."""
    words = Words(entries)
    began = time.process_time()
    assert not words.are_in(text)
    assert time.process_time() - began < 0.5


def test_a_stream_of_single_characters_is_looked_at_a_bounded_number_of_times(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = 0
    find = detectors.find

    def counted(text: str, kinds: Any) -> Any:
        nonlocal looked
        looked += len(text)
        return find(text, kinds)

    monkeypatch.setattr(detectors, "find", counted)
    held = Held(ALL)
    for _ in range(20_000):
        held.feed("x")
    for _ in range(20_000):
        held.feed("ab ")
    held.finish()
    assert looked < 80_000 * 40
