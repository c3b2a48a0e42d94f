"""The cache without a server: which questions are the same, what is kept how long, and answers told both ways."""

from typing import Any

import orjson
import pytest

from llm_gateway.cache import figures, folding, keys, replaying
from llm_gateway.cache.entries import MAX_BYTES, OVERHEAD_BYTES, Entry, pack, unpack
from llm_gateway.cache.local import Local
from llm_gateway.cache.recording import Recording
from llm_gateway.dialects import anthropic, openai
from llm_gateway.surfaces import chat, completions, messages, responses
from llm_gateway.tests import recorded
from llm_gateway.tests.streams import CALL, decode, encode, events, whole
from llm_gateway.tests.test_surface_answers import REQUESTS, STREAMED, WHOLE
from llm_gateway.usage import Usage

pytestmark = pytest.mark.once
ASKED: dict[str, Any] = {"model": "smart", "messages": [{"role": "user", "content": "hi"}], "temperature": 0}
PLACES = ["prv_1 https://a.example gpt-4o", "prv_2 https://b.example claude"]


def key(body: Any = None, *, organization: str = "acme", surface: str = chat.PATH, **more: Any) -> str | None:
    named: dict[str, Any] = {"model": "smart", "places": PLACES, **more}
    return keys.of(organization, surface, ASKED if body is None else body, **named)


# --- keys -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "more",
    [{"stream": True}, {"stream_options": {"include_usage": True}}, {"user": "ann"}, {"metadata": {"a": "b"}},
     {"prompt_cache_key": "k"}, {"model": "other"}],
)  # fmt: skip
def test_what_cannot_change_the_answer_does_not_change_the_key(more: dict[str, Any]) -> None:
    assert key(dict(reversed({**ASKED, **more}.items()))) == key()
    assert key(places=PLACES[::-1]) == key()


@pytest.mark.parametrize(
    "changed",
    [key({**ASKED, "temperature": 1}), key({**ASKED, "seed": 1}), key({**ASKED, "tools": []}),
     key(organization="acme2"), key(model="smarter"), key(places=PLACES[:1]), key(surface="/completions"),
     key(stamp="anthropic-beta=x"), key({**ASKED, "messages": [{"role": "user", "content": "Hi"}]})],
)  # fmt: skip
def test_everything_else_does(changed: str | None) -> None:
    assert changed not in (None, key())


def test_a_response_that_repeats_who_asked_is_kept_for_who_asked() -> None:
    body = {"model": "m", "input": "hi"}
    assert key(body, surface=responses.PATH) != key({**body, "metadata": {"a": "b"}}, surface=responses.PATH)


@pytest.mark.parametrize("name", ["previous_response_id", "conversation", "background", "store", "prompt"])
def test_what_depends_on_a_providers_state_has_no_key(name: str) -> None:
    assert key({"model": "m", "input": "hi", name: True}, surface=responses.PATH) is None
    assert key({"model": "m", "prompt": "hi"}, surface=completions.PATH) is not None


# --- what is kept -----------------------------------------------------------------------------------------------------


def entry(content: bytes = b"x", **more: Any) -> Entry:
    given = {"organization_id": "acme", "epoch": 0, "provider": "p", "model": "m", "cost_usd_micros": 5}
    return Entry(**{**given, "stored_at": 100.0, "ttl_seconds": 10, "content": content, **more})


def test_an_entry_ends_with_its_time_or_with_the_time_somebody_gives_it() -> None:
    now = [100.0]
    local = Local(10**6, clock=lambda: now[0])
    local.put("k", entry())
    now[0] = 109.9
    assert local.get("k") == entry()
    assert not entry().is_fresh(105.0, ttl_seconds=5)
    now[0] = 110.0
    assert local.get("k") is None
    assert (len(local), local.bytes) == (0, 0)


def test_the_bytes_are_bounded_and_the_least_used_goes_first() -> None:
    before = figures()
    local = Local(3 * (OVERHEAD_BYTES + 100), clock=lambda: 100.0)
    for name in "abc":
        local.put(name, entry(b"x" * 100))
    assert local.get("a") is not None
    local.put("d", entry(b"x" * 100))
    assert [name for name in "abcd" if local.get(name)] == ["a", "c", "d"]
    local.put("huge", entry(b"x" * 10_000))
    assert (local.get("huge"), len(local)) == (None, 3)
    after = figures()
    assert (after["evicted"] - before["evicted"], after["entries"] - before["entries"]) == (1, 3)
    assert after["bytes"] - before["bytes"] == local.bytes == 3 * (OVERHEAD_BYTES + 100)


def test_what_an_organization_emptied_is_forgotten_and_nothing_of_others() -> None:
    local = Local(10**6, clock=lambda: 100.0)
    local.put("ours", entry())
    local.put("new", entry(epoch=1))
    local.put("theirs", entry(organization_id="globex"))
    local.keep({"acme": 1})
    assert [bool(local.get(name)) for name in ("ours", "new", "theirs")] == [False, True, True]
    local.keep({"acme": -1, "globex": -1})
    assert (len(local), local.bytes) == (0, 0)


def test_an_entry_survives_redis_and_rubbish_is_none() -> None:
    assert unpack(pack(entry("Grüße".encode()))) == entry("Grüße".encode())
    assert [unpack(data) for data in (b"", b"\1\0\0\0", b"\2\0\0\0{}x", pack(entry())[:20])] == [None] * 4


def test_a_recording_that_is_too_long_is_none() -> None:
    assert recorded_of() is None
    assert recorded_of(b"a", b"b") == b"ab"
    assert recorded_of(b"a", b"x" * MAX_BYTES, b"y") is None


def recorded_of(*parts: bytes) -> bytes | None:
    recording = Recording()
    for part in parts:
        recording.add(part)
    return recording.content


# --- both ways --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", [openai, anthropic])
@pytest.mark.parametrize("surface", list(WHOLE), ids=lambda surface: surface.__name__.rpartition(".")[2])
def test_a_stream_is_kept_as_the_whole_answer_that_it_tells_of(surface: Any, dialect: Any) -> None:
    stream = recorded.OPENAI_STREAM if dialect is openai else recorded.ANTHROPIC_STREAM
    passes = (surface, dialect) in ((chat, openai), (messages, anthropic))
    translated = encode(surface.encoder(request=REQUESTS[surface], **CALL), decode(dialect.decoder(**CALL), stream))
    sent = stream if passes else translated
    folded = folding.fold(surface.PATH, sent, usage=None)
    assert folded is not None
    found = orjson.loads(folded)
    WHOLE[surface].model_validate(found)
    answer = recorded.OPENAI_ANSWER if dialect is openai else recorded.ANTHROPIC_ANSWER
    expected = (
        answer
        if passes
        else surface.answer(
            whole(dialect.answer(answer, **CALL)), request=REQUESTS[surface], call_id="c1", created=CALL["created"]
        )
    )
    assert told(found) == told(expected)


@pytest.mark.parametrize("surface", list(WHOLE), ids=lambda surface: surface.__name__.rpartition(".")[2])
def test_a_whole_answer_is_told_as_a_stream_and_back_without_loss(surface: Any) -> None:
    answer = {**recorded.OPENAI_ANSWER, "choices": [{**recorded.OPENAI_ANSWER["choices"][0]}]}
    answer["choices"][0]["message"] = {**answer["choices"][0]["message"], "content": "Grüße, 🐧! " * 100}
    kept = surface.answer(answer, request=REQUESTS[surface], call_id="c1", created=1)
    stream = replaying.replay(surface.PATH, orjson.dumps(kept), wants_usage=True)
    found = events(stream)
    for event in found:
        STREAMED[surface].validate_python(event)
    assert (b"[DONE]" in stream) == (surface in (chat, completions))
    assert sum("Grüße" in orjson.dumps(event).decode() for event in found) >= (1 if surface is completions else 4)
    assert told(orjson.loads(folding.fold(surface.PATH, stream, usage=None) or b"{}")) == told(kept)


def test_anthropics_thoughts_and_citations_come_through() -> None:
    cited = {"type": "text", "text": "So.", "citations": [{"type": "char_location", "cited_text": "So"}]}
    kept = {**recorded.ANTHROPIC_ANSWER, "content": [*recorded.ANTHROPIC_ANSWER["content"], cited]}
    stream = replaying.replay(messages.PATH, orjson.dumps(kept), wants_usage=True)
    assert orjson.loads(folding.fold(messages.PATH, stream, usage=None) or b"{}") == kept


def test_the_usage_is_told_only_to_who_asked_and_kept_for_who_will() -> None:
    content = orjson.dumps(recorded.OPENAI_ANSWER)
    assert not any("usage" in event for event in events(replaying.replay(chat.PATH, content, wants_usage=False)))
    assert events(replaying.replay(chat.PATH, content, wants_usage=True))[-1]["usage"] == recorded.OPENAI_USAGE
    silent = replaying.replay(chat.PATH, content, wants_usage=False)
    kept = orjson.loads(folding.fold(chat.PATH, silent, usage=Usage(input_tokens=3, output_tokens=4)) or b"{}")
    assert (kept["usage"]["prompt_tokens"], kept["usage"]["completion_tokens"]) == (3, 4)


@pytest.mark.parametrize("surface", list(WHOLE), ids=lambda surface: surface.__name__.rpartition(".")[2])
@pytest.mark.parametrize(
    "stream", [b"", b"data: [DONE]\n\n", b"data: {}\n\n", b'data: {"type": "ping"}\n\n', b"data: x\n\n"]
)
def test_what_makes_no_answer_is_not_kept(surface: Any, stream: bytes) -> None:
    assert folding.fold(surface.PATH, stream, usage=None) is None


def told(answer: Any) -> Any:
    """Return an answer without what differs between a stream and a whole: names, and fields that are null or empty."""
    if isinstance(answer, dict):
        kept = {name: value for name, value in answer.items() if name not in ("id", "model", "system_fingerprint")}
        return {name: told(value) for name, value in kept.items() if value not in (None, [], "")}
    return [told(item) for item in answer] if isinstance(answer, list) else answer


def test_what_is_nested_too_deep_to_be_written_is_not_kept() -> None:
    deep: bytes = b'{"a":' * 300 + b"1" + b"}" * 300
    chunk = b'{"id":"c","choices":[{"index":0,"delta":{"content":"x","more":%b},"finish_reason":"stop"}]}' % deep
    assert folding.fold(chat.PATH, recorded.sse(chunk, b"[DONE]"), usage=None) is None
    assert not replaying.may_replay(b'{"choices":[{"message":{"more":%b}}]}' % deep)
    assert replaying.may_replay(orjson.dumps({"data": [{"a": {}}] * 300}))
    assert not replaying.may_replay(b"[" * 300)
