"""Bad input on `/ws`: each row gets the error or close code it was promised, and nobody else notices.

After every test a neighbour on the same server, registered before all of it, still has its heartbeat answered and a
message acknowledged; at the end its rows are exactly what it was acknowledged.
"""

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from moolai.testing.world import World
from orchestrators import hub as hubs
from orchestrators import messages
from orchestrators.hub import FrameHandler
from orchestrators.models import Instance, Message
from orchestrators.tests.live import Live, Peer, eventually, running
from orchestrators.tests.raw import CLOSE, CONTINUATION, PING, TEXT, RawPeer, frame
from orgs.models import Counter

pytestmark = [pytest.mark.once, pytest.mark.services]


@pytest.fixture(scope="module")
def live(world: World, django_db_blocker: Any) -> Iterator[Live]:
    env = {"REGISTER_TIMEOUT_SEC": "2", "WS_LAG_SECONDS": "2"}
    with running(world, django_db_blocker, env) as found:
        yield found


class Neighbour:
    """A well-behaved session that must notice nothing."""

    def __init__(self, live: Live) -> None:
        self.key = live.key()
        self.peer = live.register("neighbour", key=self.key)
        live.peers.remove(self.peer)
        told = next(frame for frame in self.peer.seen if frame["type"] == "provisioning")
        self.peer.send({"type": "config_status", "config_hash": told["config_hash"], "status": "applied"})
        self.acknowledged: list[str] = []
        self.rested_at = 0.0

    def is_well(self) -> bool:
        """Have a message acknowledged and, every other time, a heartbeat answered, with no frame in between."""
        number = len(self.acknowledged)
        frames = 1 + number % 2
        time.sleep(max(0.0, self.rested_at - time.monotonic()))
        self.rested_at = time.monotonic() + 0.055 * frames  # stays below its own 20 frames a second
        if number % 2:
            self.peer.send({"type": "i_am_alive", "seq": number})
            assert self.peer.recv() == self.peer.seen[-1] | {"type": "heartbeat_ack", "seq": number}
        self.peer.send({"type": "recommendation", "message_id": f"n-{number}", "content": {"n": number}})
        assert self.peer.recv() == {"type": "ack", "message_id": f"n-{number}", "success": True, "duplicate": False}
        self.acknowledged.append(f"n-{number}")
        return True


@pytest.fixture(scope="module")
def neighbour(live: Live) -> Iterator[Neighbour]:
    found = Neighbour(live)
    yield found
    stored = (
        Message.objects.filter(orchestrator__orchestrator_id="neighbour")
        .order_by("id")
        .values_list("message_id", flat=True)
    )
    assert list(stored) == found.acknowledged
    assert live.row("neighbour").epoch == 1
    found.peer.close()
    assert "a socket failed" not in live.server.output()
    assert "a batched item failed" not in live.server.output()


@pytest.fixture(autouse=True)
def nobody_else_notices(live: Live, neighbour: Neighbour) -> Iterator[None]:
    yield
    live.hang_up()
    assert neighbour.is_well()


@pytest.fixture
def peer(live: Live, neighbour: Neighbour) -> Peer:
    return live.register(key=neighbour.key)


@pytest.fixture
def raw(live: Live, neighbour: Neighbour) -> Iterator[RawPeer]:
    with RawPeer(live.server.port) as found:
        assert found.register(live.new_id("raw"), neighbour.key)["success"] is True
        assert found.recv()["type"] == "provisioning"
        yield found


def beat(**fields: Any) -> dict[str, Any]:
    return {"type": "i_am_alive", **fields}


# --- text that is refused while the socket stays open --------------------------------------------------------------

STAYS_OPEN: dict[str, tuple[str, str]] = {
    "W3 malformed": ("{bad", "invalid_json"),
    "W3 trailing": ('{"type":"i_am_alive"} x', "invalid_json"),
    "W3 cut short": ('{"type":"i_am_al', "invalid_json"),
    "W3 two objects": ('{"type":"i_am_alive"}{"type":"goodbye"}', "invalid_json"),
    "W3 single quotes": ("{'type': 'i_am_alive'}", "invalid_json"),
    "W4 empty": ("", "empty_message"),
    "W4 blank": (" \n\t ", "empty_message"),
    "W5 array": ("[]", "not_an_object"),
    "W5 array of frames": ('[{"type":"i_am_alive"}]', "not_an_object"),
    "W5 string": ('"i_am_alive"', "not_an_object"),
    "W5 number": ("7", "not_an_object"),
    "W5 null": ("null", "not_an_object"),
    "W5 true": ("true", "not_an_object"),
    "W6 NaN": ('{"type":"i_am_alive","seq":NaN}', "invalid_number"),
    "W6 Infinity": ('{"type":"i_am_alive","health":{"a":Infinity}}', "invalid_number"),
    "W6 -Infinity": ('{"type":"i_am_alive","health":{"a":[-Infinity]}}', "invalid_number"),
    "W7 1e999": ('{"type":"i_am_alive","health":{"a":1e999}}', "invalid_number"),
    "W7 -1e999": ('{"type":"i_am_alive","health":{"a":-1e999}}', "invalid_number"),
    "W8 surrogate value": ('{"type":"i_am_alive","health":{"a":"\\ud800"}}', "invalid_string"),
    "W8 surrogate key": ('{"type":"i_am_alive","health":{"\\udc00":1}}', "invalid_string"),
    "W8 surrogate before text": ('{"type":"i_am_alive","health":{"a":"\\ud800x"}}', "invalid_string"),
    "W9 NUL value": ('{"type":"i_am_alive","health":{"a":"x\\u0000"}}', "invalid_string"),
    "W9 NUL key": ('{"type":"i_am_alive","health":{"\\u0000":1}}', "invalid_string"),
    "W9 NUL in the type": ('{"type":"i_am_alive\\u0000"}', "invalid_string"),
    "W11 5000 digits": ('{"type":"i_am_alive","health":{"a":' + "9" * 5000 + "}}", "invalid_number"),
    "W11 2^63": ('{"type":"i_am_alive","seq":9223372036854775808}', "invalid_number"),
    "W11 -2^63-1": ('{"type":"i_am_alive","health":{"a":-9223372036854775809}}', "invalid_number"),
    "W11 2^64": ('{"type":"i_am_alive","health":{"a":[18446744073709551616]}}', "invalid_number"),
    "W12 100,000 arrays": ('{"type":"i_am_alive","health":' + "[" * 100_000 + "]" * 100_000 + "}", "too_deep"),
    "W12 100,000 bare arrays": ("[" * 100_000 + "]" * 100_000, "too_deep"),
    "W12 33 levels": ('{"type":"i_am_alive","health":' + '{"a":' * 32 + "1" + "}" * 33, "too_deep"),
    "W12 unclosed": ('{"type":"i_am_alive","health":' + "[" * 200_000, "too_deep"),
    "W16 items": ('{"type":"i_am_alive","health":{"a":[' + ",".join("0" * 10_001) + "]}}", "too_many_items"),
    "W16 keys": (json.dumps(beat(health={f"k{n}": 1 for n in range(10_001)})), "too_many_items"),
    "W16 string": (json.dumps(beat(health={"deep": {"er": "x" * 65_537}})), "string_too_long"),
    "W19 no type": ("{}", "unknown_type"),
    "W19 null type": ('{"type":null}', "unknown_type"),
    "W19 number type": ('{"type":7}', "unknown_type"),
    "W19 list type": ('{"type":["i_am_alive"]}', "unknown_type"),
    "W19 object type": ('{"type":{}}', "unknown_type"),
    "W19 unknown": ('{"type":"make_coffee"}', "unknown_type"),
    "W19 10 KB": (json.dumps({"type": "<b>" + "x" * 10_000}), "unknown_type"),
    "W20 websocket.disconnect": ('{"type":"websocket.disconnect"}', "unknown_type"),
    "W20 hub.wake": ('{"type":"hub.wake"}', "unknown_type"),
    "W20 _x": ('{"type":"_x"}', "unknown_type"),
    "W20 receive": ('{"type":"receive"}', "unknown_type"),
    "W20 __class__": ('{"type":"__class__"}', "unknown_type"),
    "W20 downward": ('{"type":"provisioning","config":{}}', "unknown_type"),
    "W20 subscribe": ('{"type":"subscribe","topics":["fleet"]}', "unknown_type"),
    "W35 word": ('{"type":"i_am_alive","timestamp":"yesterday"}', "invalid_timestamp"),
    "W35 number": ('{"type":"i_am_alive","timestamp":1763812800}', "invalid_timestamp"),
    "W35 empty": ('{"type":"i_am_alive","timestamp":""}', "invalid_timestamp"),
    "W35 list": ('{"type":"i_am_alive","timestamp":[]}', "invalid_timestamp"),
    "W35 month 13": ('{"type":"i_am_alive","timestamp":"2026-13-01T00:00:00Z"}', "invalid_timestamp"),
    "W35 NaN": ('{"type":"i_am_alive","timestamp":NaN}', "invalid_number"),
    "seq word": ('{"type":"i_am_alive","seq":"1"}', "invalid_field"),
    "seq true": ('{"type":"i_am_alive","seq":true}', "invalid_field"),
    "health list": ('{"type":"i_am_alive","health":[1]}', "invalid_field"),
    "W36 negative": ('{"type":"monitoring","metrics":{"memory_usage_mb":-1}}', "invalid_field"),
    "W36 1e308": ('{"type":"monitoring","metrics":{"tokens":1e308}}', "invalid_field"),
    "W36 text": ('{"type":"monitoring","metrics":{"cost":"12"}}', "invalid_field"),
    "W36 boolean": ('{"type":"monitoring","metrics":{"cost":true}}', "invalid_field"),
    "W36 in a list": ('{"type":"monitoring","metrics":[{"cost":1},{"cost":-1}]}', "invalid_field"),
    "W36 no metrics": ('{"type":"monitoring"}', "invalid_field"),
    "W36 empty list": ('{"type":"monitoring","metrics":[]}', "invalid_field"),
    "W37 no id": ('{"type":"recommendation","content":{}}', "missing_message_id"),
    "W37 empty id": ('{"type":"message","message_type":"a","message_id":"","content":{}}', "missing_message_id"),
    "W37 10 KB id": (json.dumps({"type": "recommendation", "message_id": "i" * 10_000}), "invalid_field"),
    "W37 number id": ('{"type":"recommendation","message_id":7,"content":{}}', "invalid_field"),
    "message without a type": ('{"type":"message","message_id":"a","content":{}}', "invalid_field"),
    "long message type": (json.dumps({"type": "message", "message_type": "t" * 51}), "invalid_field"),
    "W41 ack": ('{"type":"ack","message_id":"never-sent","success":true}', "unknown_ref"),
    "W41 ack without id": ('{"type":"ack","success":true}', "missing_message_id"),
    "ack success word": ('{"type":"ack","message_id":"a","success":"yes"}', "invalid_field"),
    "config status": ('{"type":"config_status","status":"perhaps"}', "invalid_field"),
}  # fmt: skip


@pytest.mark.parametrize("row", STAYS_OPEN)
def test_a_bad_frame_gets_its_error_and_the_socket_stays_open(peer: Peer, row: str) -> None:
    text, code = STAYS_OPEN[row]
    error = peer.ask(text)
    assert set(error) >= {"type", "success", "error", "detail", "ref", "fatal"}
    assert (error["error"], error["success"], error["fatal"]) == (code, False, False)
    assert 10 <= len(error["detail"]) < 300
    assert "Traceback" not in error["detail"]
    assert peer.is_open()


def test_malformed_json_names_line_and_column(peer: Peer) -> None:
    error = peer.ask('{"type":\n  "i_am_alive",\n  oops}')
    assert (error["line"], error["column"]) == (3, 3)
    assert "line 3" in error["detail"]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (json.dumps(beat(health={"deep": {"er": "x" * 65_537}})), "health.deep.er"),
        (json.dumps(beat(health={"list": [0] * 10_001})), "health.list"),
        ('{"type":"monitoring","metrics":{"cost":-1}}', "metrics.cost"),
        ('{"type":"monitoring","metrics":[{"cost":1},{"cost":"12"}]}', "metrics[1].cost"),
    ],
)
def test_the_path_of_what_is_wrong_is_named(peer: Peer, text: str, path: str) -> None:
    assert peer.ask(text)["path"] == path


def test_the_limits_themselves_are_allowed(peer: Peer) -> None:
    nested: Any = 1
    for _ in range(30):  # with the frame and `content`, 32 levels
        nested = {"a": nested}
    content = {"deep": nested, "long": "x" * 65_536, "numbers": [2**63 - 1, -(2**63)], "emoji": "\U0001f600"}
    answer = peer.ask({"type": "recommendation", "message_id": "limits", "content": content["long"]}, "ack")
    assert answer["success"] is True
    for name in ("deep", "numbers", "emoji"):
        sent = content[name] if name != "deep" else nested
        assert peer.ask({"type": "recommendation", "message_id": name, "content": sent}, "ack")["success"] is True, name
        assert (
            Message.objects.get(
                orchestrator__orchestrator_id=peer.ack["orchestrator_id"], message_id=name
            ).message_content
            == sent
        )
    assert peer.ask({"type": "recommendation", "message_id": "float", "content": [1e308]}, "ack")["success"] is True
    [stored] = Message.objects.get(
        orchestrator__orchestrator_id=peer.ack["orchestrator_id"], message_id="float"
    ).message_content
    assert float(stored) == 1e308  # PostgreSQL gives it back as an integer


def test_a_long_type_is_shortened_and_made_harmless(peer: Peer) -> None:
    error = peer.ask({"type": "\x1b[31m<script>\r\n" + "x" * 10_000})
    assert len(error["detail"]) < 200
    assert not set(error["detail"]) & {"\x1b", "\r", "\n"}


def test_error_frames_name_the_message_they_speak_of(peer: Peer) -> None:
    assert peer.ask({"type": "monitoring", "message_id": "m-1", "metrics": {"cost": -1}})["ref"] == "m-1"
    assert peer.ask({"type": "ack", "message_id": "never-sent"})["ref"] == "never-sent"
    assert peer.ask("{bad")["ref"] is None


def test_the_event_loop_does_not_stall_over_a_deep_frame(peer: Peer, neighbour: Neighbour) -> None:
    text = '{"type":"i_am_alive","health":' + "[" * 100_000 + "]" * 100_000 + "}"
    times = []
    for number in range(5):
        peer.send(text)
        started = time.perf_counter()
        assert neighbour.peer.ask({"type": "i_am_alive", "seq": number}, "heartbeat_ack")["seq"] == number
        times.append(time.perf_counter() - started)
    assert min(times) < 0.05
    assert peer.take("error")["error"] == "too_deep"


@pytest.mark.parametrize("stamp", ["2025-10-27T10:30:15", "1970-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z",
                                   "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00",
                                   "2026-11-20T12:00:00+01:00"])  # fmt: skip
def test_an_implausible_timestamp_is_accepted_and_the_heartbeat_counts(peer: Peer, stamp: str) -> None:
    assert peer.ask(beat(timestamp=stamp, seq=1), "heartbeat_ack")["seq"] == 1


# --- the socket is closed -------------------------------------------------------------------------------------------


def test_w1_invalid_utf8_closes_with_1007(raw: RawPeer) -> None:
    raw.raw(frame(TEXT, b'{"type": "\xff\xfe"}'))
    assert raw.ending() == ([], 1007)


def test_w2_a_binary_frame_is_told_and_closed_with_1003(peer: Peer) -> None:
    peer.send(b'{"type": "i_am_alive"}')
    frames, code = peer.ending()
    assert [(entry["error"], entry["fatal"]) for entry in frames] == [("binary_not_supported", True)]
    assert code == 1003


def test_w13_a_frame_over_256_kib_is_told_and_closed_with_1009(peer: Peer) -> None:
    peer.send({"type": "recommendation", "message_id": "big", "content": ["x" * 60_000] * 5})
    frames, code = peer.ending()
    assert [(entry["error"], entry["fatal"]) for entry in frames] == [("message_too_large", True)]
    assert code == 1009


def test_w13_bytes_count_and_not_characters(peer: Peer) -> None:
    peer.send(json.dumps(beat(health={"a": ["\u00e4" * 30_000] * 5}), ensure_ascii=False))
    frames, code = peer.ending()
    assert (frames[0]["error"], code) == ("message_too_large", 1009)


def test_w14_a_frame_over_1_mib_closes_with_1009(raw: RawPeer) -> None:
    raw.raw(frame(TEXT, b"x" * (1024 * 1024 + 1)))
    assert raw.ending()[1] == 1009


def test_w14_a_claimed_length_of_2_to_the_40_closes_with_1009_before_a_byte_came(live: Live, raw: RawPeer) -> None:
    before = psutil.Process(live.server.pid).memory_info().rss
    raw.raw(frame(TEXT, b"", length=2**40))
    assert raw.ending()[1] == 1009
    assert psutil.Process(live.server.pid).memory_info().rss - before < 20 * 1024 * 1024


def test_w14_ten_megabytes_in_fragments_close_with_1009(raw: RawPeer) -> None:
    piece = b"x" * 65_536
    raw.raw(frame(TEXT, piece, fin=False))
    for _ in range(160):
        raw.raw(frame(CONTINUATION, piece, fin=False))
    _, code = raw.ending()
    assert code == 1009


def test_w15_a_hundred_thousand_tiny_fragments_are_one_message(live: Live, raw: RawPeer, neighbour: Neighbour) -> None:
    text = json.dumps(
        {"type": "recommendation", "message_id": "tiny", "content": {"a": "y" * 49_000, "b": "z" * 50_000}}
    )
    before = psutil.Process(live.server.pid).memory_info().rss
    pieces = [frame(TEXT, text[:1].encode(), fin=False)]
    pieces += [frame(CONTINUATION, character.encode(), fin=False) for character in text[1:]]
    pieces.append(frame(CONTINUATION))
    raw.raw(b"".join(pieces))
    assert neighbour.peer.ask({"type": "i_am_alive", "seq": 1}, "heartbeat_ack")["seq"] == 1
    assert raw.recv() == {"type": "ack", "message_id": "tiny", "success": True, "duplicate": False}
    assert psutil.Process(live.server.pid).memory_info().rss - before < 60 * 1024 * 1024


PROTOCOL_VIOLATIONS = {
    "W17 unmasked": frame(TEXT, b'{"type":"i_am_alive","seq":1}', masked=False),
    "W17 RSV2": frame(TEXT, b"{}", rsv=2),
    "W17 reserved opcode": frame(0x3, b"{}"),
    "W17 reserved control opcode": frame(0xB, b""),
    "W17 ping over 125": frame(PING, b"p" * 126),
    "W17 fragmented ping": frame(PING, b"p", fin=False),
    "W17 continuation of nothing": frame(CONTINUATION, b"{}"),
    "W17 text inside a fragmented message": frame(TEXT, b"{", fin=False) + frame(TEXT, b"}"),
    "W17 close code 999": frame(CLOSE, b"\x03\xe7"),
    "W17 close code 1005": frame(CLOSE, b"\x03\xed"),
    "W17 close of one byte": frame(CLOSE, b"\x03"),
    "W18 compressed": frame(TEXT, b"\xaaVJ,\xcaQ\xb2R*.MN\x06\xb2\x01", rsv=4),
}


@pytest.mark.parametrize("row", PROTOCOL_VIOLATIONS)
def test_a_violation_of_the_wire_closes_with_1002(raw: RawPeer, row: str) -> None:
    raw.raw(PROTOCOL_VIOLATIONS[row])
    frames, code = raw.ending()
    assert code == 1002, frames


def test_w17_a_close_reason_that_is_no_utf8_is_a_violation(raw: RawPeer) -> None:
    raw.raw(frame(CLOSE, b"\x03\xe8\xff\xfe"))
    assert raw.ending()[1] in (1002, 1007)  # RFC 6455 §8.1 asks for 1007


def test_deflate_is_not_negotiated_by_default(live: Live, neighbour: Neighbour) -> None:
    with RawPeer(live.server.port) as asking:
        status, _ = asking.upgrade(
            headers=[("Sec-WebSocket-Extensions", b"permessage-deflate; client_max_window_bits")]
        )
        assert status == 101
        asking.raw(frame(TEXT, b"\xaaVJ", rsv=4))
        assert asking.ending()[1] == 1002


def test_a_ping_is_answered_and_text_goes_on_between_fragments(raw: RawPeer) -> None:
    raw.raw(frame(TEXT, b'{"type":"i_am_', fin=False) + frame(PING, b"hello"))
    assert raw.read_frame() == (0xA, b"hello")
    raw.raw(frame(CONTINUATION, b'alive","seq":9}'))
    assert raw.recv()["seq"] == 9


# --- before the session opens ---------------------------------------------------------------------------------------


def test_w21_anything_before_register_is_an_error_and_the_second_time_the_end(live: Live) -> None:
    peer = live.peer()
    error = peer.ask({"type": "i_am_alive"})
    assert (error["error"], error["fatal"]) == ("not_registered", False)
    peer.send({"type": "recommendation", "message_id": "a", "content": {}})
    frames, code = peer.ending()
    assert (frames[-1]["error"], frames[-1]["fatal"], code) == ("not_registered", True, 1008)


def test_w21_after_one_mistake_register_still_works(live: Live, neighbour: Neighbour) -> None:
    peer = live.peer()
    assert peer.ask("{bad")["error"] == "invalid_json"
    assert peer.ask({"type": "goodbye"})["error"] == "not_registered"
    opening = {"type": "register", "orchestrator_id": live.new_id(), "token": neighbour.key}
    assert peer.ask(opening, "handshake_ack")["success"] is True


def test_before_register_a_binary_frame_and_a_large_one_end_the_socket(live: Live) -> None:
    for sent, error, code in ((b"x", "binary_not_supported", 1003), ("x" * 300_000, "message_too_large", 1009)):
        peer = live.peer()
        peer.send(sent)
        frames, closed = peer.ending()
        assert (frames[-1]["error"], closed) == (error, code)


def test_before_register_ten_errors_end_the_socket(live: Live) -> None:
    peer = live.peer()
    for _ in range(10):
        peer.send("{bad")
    frames, code = peer.ending()
    assert ([entry["error"] for entry in frames], code) == (["invalid_json"] * 10, 1008)
    assert [entry["fatal"] for entry in frames] == [False] * 9 + [True]


def test_w22_no_register_in_time_is_told_and_closed_with_4408(live: Live) -> None:
    silent, dripping = live.peer(), live.peer()
    dripping.send("{bad")
    for peer in (silent, dripping):
        frames, code = peer.ending(4)
        assert (frames[-1]["error"], frames[-1]["fatal"], code) == ("register_timeout", True, 4408)


def test_w31_another_path_is_404_before_the_upgrade(live: Live) -> None:
    for path in ("/ws/x", "/wss", "/", "/ws/../ws2", "/api/v1/controller/health"):
        with RawPeer(live.server.port) as peer:
            status, body = peer.upgrade(path=path)
        assert status == 404, path
        assert json.loads(body)["error"] == "not_found"


@pytest.mark.parametrize("value", [b"a\x0bb", b"a\x85b", b"a\x00b", b"a\x1fb", b"a\x7fb"])
def test_w30_a_control_character_in_a_header_is_400(live: Live, value: bytes) -> None:
    with RawPeer(live.server.port) as peer:
        assert peer.upgrade(headers=[("X-Note", value)])[0] == 400


# --- strikes and floods ---------------------------------------------------------------------------------------------


def test_ten_strikes_in_a_minute_close_with_1008(peer: Peer) -> None:
    for _ in range(9):
        assert peer.ask("{bad")["fatal"] is False
    assert peer.is_open()
    peer.send({"type": "make_coffee"})
    frames, code = peer.ending()
    assert (frames[-1]["error"], frames[-1]["fatal"], code) == ("unknown_type", True, 1008)


def test_w23_a_second_register_closes_with_1008_and_changes_nothing(
    live: Live, peer: Peer, neighbour: Neighbour
) -> None:
    orchestrator_id = peer.ack["orchestrator_id"]
    peer.send({"type": "register", "orchestrator_id": orchestrator_id, "token": neighbour.key, "name": "Changed"})
    frames, code = peer.ending()
    assert (frames[-1]["error"], frames[-1]["fatal"], code) == ("already_registered", True, 1008)
    row = eventually(lambda: Instance.objects.filter(orchestrator_id=orchestrator_id, is_connected=False).first())
    assert (row.epoch, row.name) == (1, orchestrator_id)
    again = live.register(key=neighbour.key)
    again.send({"type": "handshake", "data": {"orchestrator_id": "another"}})
    assert again.ending()[1] == 1008
    assert not Instance.objects.filter(orchestrator_id="another").exists()


def test_w33_a_flood_is_told_how_long_to_wait_and_closed_after_ten_strikes(peer: Peer) -> None:
    try:
        for number in range(400):
            peer.send(beat(seq=number))
    except Exception:  # noqa: BLE001 - the server may close before the last one
        pass
    frames, code = peer.ending()
    errors = [entry for entry in frames if entry["type"] == "error"]
    assert code == 1008
    assert {entry["error"] for entry in errors} == {"rate_limited"}
    assert len(errors) == 10
    assert all(entry["retry_after_ms"] > 0 for entry in errors)
    assert [entry["fatal"] for entry in errors] == [False] * 9 + [True]
    answered = [entry["seq"] for entry in frames if entry["type"] == "heartbeat_ack"]
    assert 95 <= len(answered) < 200
    assert answered[:95] == list(range(95))
    hits = Counter.objects.filter(name="rate_limit.hit", subject__endswith=f"/{peer.ack['orchestrator_id']}")
    assert eventually(lambda: sum(row.number for row in hits.all()) == 10)


def test_a_burst_of_a_hundred_and_then_twenty_a_second_is_allowed(peer: Peer) -> None:
    for number in range(95):
        peer.send(beat(seq=number))
    for number in range(15):
        time.sleep(0.06)
        peer.send(beat(seq=100 + number))
    until = time.monotonic() + 5
    while peer.recv(until - time.monotonic())["seq"] != 114:
        assert peer.seen[-1]["type"] == "heartbeat_ack"


def test_answers_to_what_is_outstanding_do_not_count(live: Live, peer: Peer) -> None:
    orchestrator_id = peer.ack["orchestrator_id"]
    for number in range(30):
        messages.queue(orchestrator_id, message_type="order", content={"n": number}, acting_user=None)
    orders = [peer.take("order") for _ in range(30)]
    for number in range(99):
        peer.send(beat(seq=number))
    for order in orders:
        peer.send({"type": "ack", "message_id": order["message_id"], "success": True})
    while peer.recv()["type"] != "heartbeat_ack" or peer.seen[-1]["seq"] != 98:
        assert peer.seen[-1]["type"] == "heartbeat_ack"
    delivered = Message.objects.filter(orchestrator__orchestrator_id=orchestrator_id, status="delivered")
    assert eventually(lambda: delivered.count() == 30)
    assert not [entry for entry in peer.seen if entry["type"] == "error"]


@pytest.mark.parametrize("kind", ["config_status", "ack"])
def test_answers_to_nothing_count_like_everything_else(peer: Peer, kind: str) -> None:
    frames = {
        "config_status": {"type": "config_status", "config_hash": "sha256:0", "status": "applying"},
        "ack": {"type": "ack", "message_id": "never-sent"},
    }
    try:
        for _ in range(400):
            peer.send(frames[kind])
    except Exception:  # noqa: BLE001 - the server may close before the last one
        pass
    assert peer.ending()[1] == 1008


# --- messages ------------------------------------------------------------------------------------------------------


def test_w37_the_same_message_again_is_a_duplicate_and_another_body_a_conflict(peer: Peer) -> None:
    first = {"type": "recommendation", "message_id": "dup", "content": {"a": 1, "b": [2]}}
    assert peer.ask(first, "ack")["duplicate"] is False
    assert peer.ask(first | {"content": {"b": [2], "a": 1}}, "ack")["duplicate"] is True
    error = peer.ask(first | {"content": {"a": 2}})
    assert (error["error"], error["ref"], error["fatal"]) == ("message_id_conflict", "dup", False)
    assert (
        peer.ask({"type": "message", "message_type": "other", "message_id": "dup", "content": {"a": 1, "b": [2]}})[
            "error"
        ]
        == "message_id_conflict"
    )
    stored = Message.objects.get(orchestrator__orchestrator_id=peer.ack["orchestrator_id"])
    assert stored.message_content == {"a": 1, "b": [2]}


def test_w41_an_ack_of_another_sockets_message_changes_nothing(live: Live, peer: Peer, neighbour: Neighbour) -> None:
    other = live.register(key=neighbour.key)
    row = messages.queue(other.ack["orchestrator_id"], message_type="order", content={}, acting_user=None)
    assert other.take("order")["message_id"] == row.message_id
    error = peer.ask({"type": "ack", "message_id": row.message_id, "success": True})
    assert (error["error"], error["ref"]) == ("unknown_ref", row.message_id)
    row.refresh_from_db()
    assert row.status == "sent"


def test_w41_an_ack_before_the_message_was_sent_is_unknown(live: Live, neighbour: Neighbour) -> None:
    first = live.register(key=neighbour.key)
    orchestrator_id = first.ack["orchestrator_id"]
    for number in range(33):
        messages.queue(orchestrator_id, message_type="order", content={"n": number}, acting_user=None)
    waiting = Message.objects.filter(orchestrator__orchestrator_id=orchestrator_id).order_by("-id").first()
    assert waiting is not None
    for _ in range(32):
        first.take("order")
    assert first.ask({"type": "ack", "message_id": waiting.message_id})["error"] == "unknown_ref"
    waiting.refresh_from_db()
    assert (waiting.status, waiting.attempts) == ("pending", 0)


def test_w40_hostile_text_is_stored_as_text_and_logged_on_one_line(live: Live, neighbour: Neighbour) -> None:
    name = "<script>alert(1)</script>\r\n\x1b[31m=cmd()|' /C calc'!A0"
    peer = live.register(key=neighbour.key, name=name, version="{{7*7}}", metadata={"=1+1": "\u202e"})
    row = live.row(peer.ack["orchestrator_id"])
    assert (row.name, row.version, row.metadata) == (name, "{{7*7}}", {"=1+1": "\u202e"})
    peer.send({"type": "i_am_alive"})
    assert peer.is_open()
    [line] = live.lines(f"Processing heartbeat from orchestrator {peer.ack['orchestrator_id']}")
    assert json.loads(line)["level"] == "info"
    assert "\x1b" not in live.server.output()


# --- overload, slowness and our own faults --------------------------------------------------------------------------


def test_w34_and_w42_a_full_server_refuses_and_a_silent_session_makes_room(live: Live, neighbour: Neighbour) -> None:
    server = live.installation.serve(env={"WS_MAX_SESSIONS": "1", "HEARTBEAT_TTL_SEC": "2"})
    first = live.register(key=neighbour.key, server=server)
    refusal = live.refused(
        {"type": "register", "orchestrator_id": live.new_id(), "token": neighbour.key}, server=server
    )
    assert (refusal["type"], refusal["error"], refusal["close"]) == ("handshake_ack", "overloaded", 1013)
    assert refusal["retry_after_ms"] >= 1000
    frames, code = first.ending(5)
    assert (frames[-1]["error"], code) == ("heartbeat_timeout", 4408)
    assert live.register(key=neighbour.key, server=server).ack["success"] is True
    server.kill()


def test_f18_a_client_that_does_not_read_is_dropped_with_1013(live: Live, neighbour: Neighbour) -> None:
    with RawPeer(live.server.port, receive_buffer=4096) as slow:
        assert slow.register("slow", neighbour.key)["success"] is True
        # The server's side of the socket holds a few MiB: fill it with messages, then go on sending heartbeats.
        for _ in range(32):
            messages.queue("slow", message_type="order", content=["x" * 60_000] * 4, acting_user=None)
        started = time.monotonic()
        for number in range(400):
            slow.raw(frame(TEXT, json.dumps(beat(seq=number)).encode()))
            if not live.row("slow").is_connected:
                break
            time.sleep(0.06)
        assert not live.row("slow").is_connected
        assert time.monotonic() - started < 12
        assert neighbour.is_well()
    again = live.register("slow", key=neighbour.key)
    assert again.take("order")["attempt"] == 2


async def test_w43_an_unexpected_exception_is_1011_with_a_request_id(live: Live, neighbour: Neighbour) -> None:
    """Through the ASGI door, with a frame handler of ours that is broken in both of its halves."""
    from moolai import wiring
    from moolai.asgi import application

    def broken(*_: Any) -> Any:
        raise RuntimeError("a secret of the inside")

    hubs.install(
        wiring.FRAME_HANDLERS | {"boom": FrameHandler(broken, broken), "late": FrameHandler(lambda *_: 1, broken)}
    )
    try:
        for kind in ("boom", "late"):
            incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
            outgoing: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

            async def receive(source: asyncio.Queue[dict[str, Any]] = incoming) -> dict[str, Any]:
                return await source.get()

            async def send(
                message: dict[str, Any],
                sink: asyncio.Queue[dict[str, Any]] = outgoing,
                source: asyncio.Queue[dict[str, Any]] = incoming,
            ) -> None:
                await sink.put(message)
                if message["type"] == "websocket.close":
                    await source.put({"type": "websocket.disconnect", "code": message["code"]})

            scope = {"type": "websocket", "path": "/ws", "headers": [], "query_string": b"", "client": ("127.0.0.1", 1)}
            opening = {"type": "register", "orchestrator_id": f"boom-{kind}", "token": neighbour.key}
            await incoming.put({"type": "websocket.connect"})
            await incoming.put({"type": "websocket.receive", "text": json.dumps(opening)})
            await incoming.put({"type": "websocket.receive", "text": json.dumps({"type": kind, "message_id": "m"})})
            async with asyncio.timeout(5):
                await application(scope, receive, send)
            sent = [outgoing.get_nowait() for _ in range(outgoing.qsize())]
            assert sent[-1] == {"type": "websocket.close", "code": 1011}, kind
            error = json.loads(sent[-2]["text"])
            assert (error["error"], error["fatal"]) == ("internal_error", True)
            assert len(error["request_id"]) >= 8
            assert "secret" not in sent[-2]["text"]
            assert "Traceback" not in sent[-2]["text"]
    finally:
        await hubs.shut_down()
        hubs.install(wiring.FRAME_HANDLERS)
