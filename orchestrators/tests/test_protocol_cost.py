"""What a hostile frame may cost: each character is looked at a bounded number of times."""

import time

import pytest

from orchestrators import protocol

pytestmark = pytest.mark.once

NASTY = {
    "large floats": '{"type":"x","a":[' + ",".join(["1e300"] * 9_900) + "]}",
    "an unterminated string of escaped quotes": '{"a":"' + '\\"' * 32_700,
    "quotes and backslashes": '{"a' + '"\\' * 30_000,
    "only quotes": '"' * 65_000,
    "only backslashes": "\\" * 65_000,
    "open brackets": "[" * 65_000,
    "empty lists": "[]" * 32_000 + '"\\',
}


@pytest.mark.parametrize("text", NASTY.values(), ids=NASTY)
def test_a_hostile_frame_is_answered_without_delay(text: str) -> None:
    began = time.perf_counter()
    try:
        protocol.parse(text)
    except protocol.FrameError as problem:
        assert problem.close is None  # noqa: PT017 - a refusal is one of the two good ends
    # Seconds to a minute before these were bounded; milliseconds since. The bound leaves room for a busy machine.
    assert time.perf_counter() - began < 1.0


@pytest.mark.parametrize("count", [1, 50])
def test_a_large_float_is_a_number_and_a_large_integer_is_not(count: int) -> None:
    assert protocol.parse('{"a":[' + ",".join(["1e300"] * count) + "]}")["a"][0] == 1e300
    with pytest.raises(protocol.FrameError, match="invalid_number"):
        protocol.parse('{"a":[' + ",".join(["1e300"] * count) + ",123456789012345678901]}")
