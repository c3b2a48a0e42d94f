"""HTTP as bytes: sizes, framing, deadlines and addresses, seen from a bare socket against a real web process."""

import json
import re
import time
from collections.abc import Callable, Iterator

import pytest

from moolai.testing.processes import wait_until
from moolai.testing.product import ServerProcess, manage
from moolai.testing.world import World
from orchestrators.tests.raw import RawPeer
from tests.fleet import TOKEN
from tests.raw_http import Line, ask, request

pytestmark = [pytest.mark.once, pytest.mark.services]
HASTE = {"HTTP_HEAD_TIMEOUT_SEC": "1", "HTTP_BODY_TIMEOUT_SEC": "2", "HTTP_IDLE_TIMEOUT_SEC": "2"}
ENV = HASTE | {"HTTP_MAX_WAITING": "50", "DEV_BEARER_TOKEN": TOKEN, "LOG_LEVEL": "INFO"}
ORGANIZATIONS = "/api/v1/controller/organizations"
BEARER = f"Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def server(world: World) -> Iterator[ServerProcess]:
    """One web process with short deadlines for the whole module."""
    with world.installation(ENV) as place:
        yield place.serve()


@pytest.fixture
def port(server: ServerProcess) -> Iterator[int]:
    """Its port; every test leaves it healthy, and without a traceback in its log."""
    seen = len(server.output())
    yield server.port
    assert server.is_healthy()
    tracebacks = [line[-1500:] for line in server.output()[seen:].splitlines() if "Traceback" in line]
    assert tracebacks == [], tracebacks[0]


def refused(port: int, data: bytes) -> tuple[int, str]:
    """Send bytes; return status and code of a refusal in the one error shape, after which the server closes."""
    with Line(port) as line:
        answer = line.send(data).answer()
        assert set(answer.json) == {"success", "error", "detail", "request_id"}
        assert answer.json["success"] is False
        assert answer.json["detail"]
        assert "bytearray" not in answer.json["detail"], "what was sent, a credential perhaps, is not told back"
        assert answer.headers["x-request-id"] == answer.json["request_id"]
        assert answer.headers["connection"] == "close"
        line.socket.settimeout(10)
        assert line.socket.recv(1) == b"", "nothing may follow"
        return answer.status, answer.json["error"]


# --- framing ---------------------------------------------------------------------------------------------------------

CHUNKED = "Transfer-Encoding: chunked\r\n"
UNREADABLE = {
    "both lengths": request(method="POST", headers=f"Content-Length: 5\r\n{CHUNKED}", body=b"0\r\n\r\n"),
    "both lengths, other order": request(method="POST", headers=f"{CHUNKED}Content-Length: 5\r\n", body=b"0\r\n\r\n"),
    "two lengths": request(method="POST", headers="Content-Length: 5\r\nContent-Length: 6\r\n", body=b"12345"),
    "two equal lengths": request(method="POST", headers="Content-Length: 5\r\ncontent-length: 5\r\n", body=b"12345"),
    "a list of lengths": request(method="POST", headers="Content-Length: 5, 5\r\n", body=b"12345"),
    "a negative length": request(method="POST", headers="Content-Length: -1\r\n"),
    "a signed length": request(method="POST", headers="Content-Length: +5\r\n", body=b"12345"),
    "a length in words": request(method="POST", headers="Content-Length: five\r\n"),
    "an empty length": request(method="POST", headers="Content-Length: \r\n"),
    "a length of 21 digits": request(method="POST", headers=f"Content-Length: {'9' * 21}\r\n"),
    "another coding": request(method="POST", headers="Transfer-Encoding: gzip\r\n"),
    "two codings": request(method="POST", headers=CHUNKED * 2, body=b"0\r\n\r\n"),
    "an obscured coding": request(method="POST", headers="Transfer-Encoding: xchunked\r\n", body=b"0\r\n\r\n"),
    "a coding in 1.0": b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": request(headers="Content-Length : 5\r\n"),
    "a folded header": request(headers="X-A: b\r\n\tContent-Length: 5\r\n"),
    "a header without a colon": request(headers="nonsense\r\n"),
    "a header with a vertical tab": request(headers="X-A: b\x0bc\r\n"),
    "a header with a null": request(headers="X-A: b\x00c\r\n"),
    "no host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "two hosts": request(headers="Host: example.com\r\n"),
    "no version": b"GET /healthz\r\n\r\n",
    "version 2": b"GET /healthz HTTP/2.0\r\nHost: a\r\n\r\n",
    "a space in the path": b"GET /health z HTTP/1.1\r\nHost: a\r\n\r\n",
    "bytes in the path": b"GET /\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n",
    "a wrong chunk size": request(method="POST", headers=CHUNKED, body=b"zz\r\nab\r\n"),
    "a chunk longer than said": request(ORGANIZATIONS, method="POST", headers=BEARER + CHUNKED, body=b"2\r\nabcd\r\n"),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "noise": b"\xde\xad\xbe\xef\r\n\r\n",
    "an empty line": b"\r\n\r\n",
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_what_two_servers_could_read_differently_is_a_bad_request(port: int, kind: str) -> None:
    assert refused(port, UNREADABLE[kind]) == (400, "bad_request")


def test_a_smuggled_request_is_not_answered(port: int) -> None:
    hidden = request("/hidden-by-smuggling")
    headers = f"Content-Length: {len(hidden) + 5}\r\n{CHUNKED}"
    assert refused(port, request(method="POST", headers=headers, body=b"0\r\n\r\n" + hidden)) == (400, "bad_request")


def test_chunks_of_one_byte_are_refused_when_there_are_too_many(port: int) -> None:
    body = b"1\r\na\r\n" * 3_000
    assert refused(port, request(ORGANIZATIONS, method="POST", headers=BEARER + CHUNKED, body=body))[0] == 400
    few = (
        b"".join(b"1\r\n%c\r\n" % byte for byte in b'{"organization_id": "chunked", "name": "In pieces"}')
        + b"0\r\n\r\n"
    )
    answer = ask(port, request(ORGANIZATIONS, method="POST", headers=BEARER + CHUNKED, body=few))
    assert answer.status == 201
    assert answer.json["data"]["organization_id"] == "chunked"


@pytest.mark.parametrize("method", ["TRACE", "CONNECT"])
@pytest.mark.parametrize("target", ["/healthz", "127.0.0.1:80"])
def test_trace_and_connect_are_not_allowed(port: int, method: str, target: str) -> None:
    answer = ask(port, request(target, method=method, headers="X-Request-ID: trace-me-1\r\n"))
    assert (answer.status, answer.json["error"], answer.json["request_id"]) == (405, "method_not_allowed", "trace-me-1")
    assert answer.headers["allow"] == "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"


@pytest.mark.parametrize(("path", "allowed"), [("/healthz", "GET, HEAD"), (ORGANIZATIONS, "GET, HEAD, POST")])
def test_a_wrong_method_says_which_are_right(port: int, path: str, allowed: str) -> None:
    answer = ask(port, request(path, method="DELETE", headers=BEARER))
    assert (answer.status, answer.json["error"], answer.headers["allow"]) == (405, "method_not_allowed", allowed)


PATHS = [
    "//", "//healthz", "/healthz//", "/..;/healthz", "/..;/", "/%00", "/health%00", "/%ff", "/%c0%af", "/%", "/%zz",
    "/%2e%2e/%2e%2e/etc/passwd", "/../../etc/passwd", "/static/../../moolai/settings.py", "/static/%2e%2e/settings.py",
    "/static/%00", "/static/%ff", "/api/v1/%ed%a0%80", "*", "http://127.0.0.1/nothing",
    "/api/v1/controller/orchestrators/%00", "/api/v1/controller/orchestrators/a%0d%0aX-Evil:1",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_an_unknown_path_is_not_found_in_whatever_form(port: int, path: str) -> None:
    answer = ask(port, request(path, headers=BEARER))
    assert (answer.status, answer.json["error"]) == (404, "not_found")
    assert answer.headers["x-request-id"] == answer.json["request_id"]
    assert "x-evil" not in answer.headers


def test_a_null_in_a_parameter_is_no_error_of_ours(port: int) -> None:
    answer = ask(port, request("/api/v1/controller/orchestrators?search=a%00b", headers=BEARER))
    assert (answer.status, answer.json["error"]) == (400, "invalid_parameter")


# --- sizes -----------------------------------------------------------------------------------------------------------

LARGE_HEADS = {
    "one field of 20 KB": request(headers=f"X-A: {'a' * 20_000}\r\n"),
    "one field of 1 MB": request(headers=f"X-A: {'a' * 1_000_000}\r\n"),
    "600 fields": request(headers="".join(f"X-{number}: a\r\n" for number in range(600))),
    "101 fields": request(headers="".join(f"X-{number}: a\r\n" for number in range(100))),
    "a target of 20 KB": request("/" + "a" * 20_000),
    "a head without an end": request(headers=f"X-A: {'a' * 20_000}")[:-2],
    "a first line without an end": b"GET /" + b"a" * 20_000,
}


@pytest.mark.parametrize("kind", LARGE_HEADS)
def test_a_large_head_is_refused(port: int, kind: str) -> None:
    assert refused(port, LARGE_HEADS[kind]) == (431, "headers_too_large")


def test_a_head_at_the_limit_is_read_however_it_is_cut(port: int) -> None:
    fields = "".join(f"X-{number:02}: a\r\n" for number in range(98))
    whole = request(headers=fields + "X-Fill: \r\n")
    whole = request(headers=fields + f"X-Fill: {'a' * (16_384 - len(whole))}\r\n")
    assert len(whole) == 16_384
    assert ask(port, whole).status == 200
    with Line(port) as line:
        for start in range(0, len(whole), 4_000):
            line.send(whole[start : start + 4_000])
            time.sleep(0.02)
        assert line.answer().status == 200
    assert refused(port, whole.replace(b"X-Fill: ", b"X-Fill: b"))[0] == 431


def test_a_body_over_the_limit_is_refused_by_its_length_alone(port: int) -> None:
    head = request(ORGANIZATIONS, method="POST", headers=f"{BEARER}Content-Length: {1024 * 1024 + 1}\r\n")
    assert refused(port, head) == (413, "payload_too_large")
    expecting = head.replace(b"Host:", b"Expect: 100-continue\r\nHost:")
    assert refused(port, expecting) == (413, "payload_too_large")


@pytest.mark.parametrize("size", [3_000_000, 10_000_000])
def test_a_client_that_sends_a_large_body_whole_still_reads_the_refusal(port: int, size: int) -> None:
    headers = f"{BEARER}Content-Length: {size}\r\n"
    assert refused(port, request(ORGANIZATIONS, method="POST", headers=headers, body=b" " * size))[0] == 413


def test_a_chunked_body_is_refused_once_it_is_too_large_and_not_read_to_its_end(port: int) -> None:
    with Line(port) as line:
        line.send(request(ORGANIZATIONS, method="POST", headers=BEARER + CHUNKED))
        for _ in range(17):
            line.send(b"10000\r\n" + b" " * 65_536 + b"\r\n")
        answer = line.answer()
        assert (answer.status, answer.json["error"]) == (413, "payload_too_large")
        sent, until = 0, time.monotonic() + 10
        line.socket.settimeout(5)
        try:
            while time.monotonic() < until:
                line.socket.sendall(b"10000\r\n" + b" " * 65_536 + b"\r\n")
                sent += 65_536
        except OSError:
            pass
        assert time.monotonic() < until, "the server reads on"
        assert sent < 64 * 1024 * 1024


def test_a_body_at_the_limit_reaches_the_view(port: int) -> None:
    body = json.dumps({"organization_id": "large", "name": "Large"}).encode().ljust(1024 * 1024)
    for headers, payload in (
        (f"Content-Length: {len(body)}\r\n", body),
        (CHUNKED, b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)),
    ):
        answer = ask(port, request(ORGANIZATIONS, method="POST", headers=BEARER + headers, body=payload))
        assert answer.status in (201, 409), answer.body
    assert answer.status == 409


def test_the_gateway_may_carry_ten_mebibytes(port: int) -> None:
    for size, status in ((10 * 1024 * 1024, 403), (10 * 1024 * 1024 + 1, 413)):  # there is no organization here
        headers = f"{BEARER}Content-Length: {size}\r\n"
        answer = ask(port, request("/v1/chat/completions", method="POST", headers=headers, body=b" " * size))
        assert answer.status == status
    headers = f"{BEARER}Content-Length: {2 * 1024 * 1024}\r\n"
    assert refused(port, request("/v1/performance/metrics", method="POST", headers=headers))[0] == 413


def test_the_answer_to_head_has_no_body(port: int) -> None:
    with Line(port) as line:
        line.send(request(method="HEAD", headers="Content-Length: 2000000\r\n"))
        assert line.answer(is_head=True).status == 413
        line.socket.settimeout(10)
        assert line.buffer + line.socket.recv(1) == b""


# --- deadlines -------------------------------------------------------------------------------------------------------


def test_a_connection_that_says_nothing_is_closed_without_a_word(port: int) -> None:
    with Line(port) as line:
        began = time.monotonic()
        assert not line.closes_within(1)
        assert line.closes_within(10)
        assert time.monotonic() - began > 1.8
        assert line.buffer == b""


def test_a_connection_that_asks_nothing_more_is_closed(port: int) -> None:
    with Line(port) as line:
        assert line.send(request()).answer().status == 200
        assert not line.closes_within(1)
        assert line.closes_within(10)


def test_a_connection_that_calls_models_rests_as_long_after_each_call(port: int) -> None:
    call = request("/v1/chat/completions", method="POST", headers=f"{BEARER}Content-Length: 2\r\n", body=b"{}")
    with Line(port) as line:
        for _ in range(3):
            assert line.send(call).answer().status == 403  # the token names no organization
            assert not line.closes_within(1.3)
        assert line.closes_within(2)


def drip(line: Line, data: bytes, *, every_seconds: float = 0.2) -> float:
    """Send one byte at a time until the server answers; return how long that took."""
    began = time.monotonic()
    line.socket.settimeout(every_seconds)
    for byte in data:
        line.send(bytes([byte]))
        try:
            line.buffer += line.socket.recv(65_536)
            break
        except TimeoutError:
            continue
    line.socket.settimeout(10)
    return time.monotonic() - began


def soonest(attempt: Callable[[], float], *, seconds: float) -> float:
    """Return how long an attempt took; one that a crowded machine made longer than `seconds` is repeated, twice."""
    for _ in range(3):
        if (elapsed := attempt()) < seconds:
            break
    return elapsed


@pytest.mark.parametrize("is_first", [True, False])
def test_a_dripped_head_is_cut_off(port: int, is_first: bool) -> None:
    def attempt() -> float:
        with Line(port) as line:
            if not is_first:
                assert line.send(request()).answer().status == 200
            elapsed = drip(line, request())
            answer = line.answer()
            assert (answer.status, answer.json["error"]) == (408, "request_timeout")
            assert line.closes_within(10)
        return elapsed

    assert 0.9 < soonest(attempt, seconds=1.8) < 1.8


@pytest.mark.parametrize("headers", ["Content-Length: 100\r\n", CHUNKED])
def test_a_dripped_body_is_cut_off_even_if_the_view_waits_for_it(
    port: int, server: ServerProcess, headers: str
) -> None:
    def attempt() -> float:
        with Line(port) as line:
            line.send(request(ORGANIZATIONS, method="POST", headers=BEARER + headers))
            body = b'{"organization_id": "dripped", "name": "D"}'
            elapsed = drip(line, b"64\r\n" + body if headers == CHUNKED else body)
            answer = line.answer()
            assert (answer.status, answer.json["error"]) == (408, "request_timeout")
        return elapsed

    assert 1.8 < soonest(attempt, seconds=2.8) < 2.8
    assert f"POST {ORGANIZATIONS} 408" in server.output()


def test_head_and_body_share_one_deadline(port: int) -> None:
    def attempt() -> float:
        with Line(port) as line:
            began = time.monotonic()
            line.send(b"POST /healthz HTTP/1.1\r\nHost: a\r\n")
            time.sleep(0.8)
            line.send(b"Content-Length: 10\r\n\r\n")
            assert line.answer().status == 408
            return time.monotonic() - began

    assert 1.8 < soonest(attempt, seconds=2.6) < 2.6


def test_a_call_whose_body_does_not_come_is_refused_in_time_and_in_its_own_shape(port: int) -> None:
    with Line(port) as line:
        began = time.monotonic()
        headers = f"{BEARER}Content-Length: 20\r\n"
        line.send(request("/v1/chat/completions", method="POST", headers=headers, body=b'{"a"'))
        answer = line.answer()
        assert (answer.status, set(answer.json)) == (408, {"error"})
        assert time.monotonic() - began > 1.8
        assert line.closes_within(10)


def test_requests_on_one_connection_have_a_deadline_each(port: int) -> None:
    with Line(port) as line:
        for _ in range(6):
            whole = request()
            line.send(whole[:20])
            time.sleep(0.4)
            assert line.send(whole[20:]).answer().status == 200


def test_pipelined_requests_are_answered_in_order_and_a_part_of_another_waits_for_its_rest(port: int) -> None:
    with Line(port) as line:
        line.send(request() + request("/nothing") + request()[:10])
        assert [line.answer().status, line.answer().status] == [200, 404]
        assert line.send(request()[10:]).answer().status == 200
        line.send(request() + b"\x00nonsense\r\n\r\n")
        assert [line.answer().status, line.answer().status] == [200, 400]
        assert line.closes_within(10)


def test_a_client_that_does_not_read_its_answers_is_cut_off(port: int, server: ServerProcess) -> None:
    with Line(port, receive_buffer=4096) as line:
        line.socket.settimeout(0.5)
        line.send(request("/static/uplot/uPlot.iife.min.js") * 200)
        mine = line.socket.getsockname()[1]
        assert wait_until(lambda: mine not in _peers(server.port), timeout_seconds=30), "the line is still held"


def _peers(port: int) -> set[int]:
    """Return the ports of the clients whose connections to `port` the server still holds (Linux)."""
    with open("/proc/net/tcp") as file:
        rows = [line.split() for line in file.readlines()[1:]]
    return {int(row[2][-4:], 16) for row in rows if int(row[1][-4:], 16) == port and row[3] == "01"}


def test_waiting_connections_are_bounded_and_the_oldest_goes_first(port: int, server: ServerProcess) -> None:
    lines = [Line(port) for _ in range(50)]
    try:
        late = Line(port)
        assert lines[0].closes_within(10)
        assert not lines[1].closes_within(0.05)
        assert late.send(request()).answer().status == 200
        late.close()
    finally:
        for line in lines:
            line.close()
    assert server.output().count("the oldest was closed") == 1


def test_a_socket_outlives_the_deadlines_of_http(port: int) -> None:
    peer = RawPeer(port)
    try:
        assert peer.upgrade()[0] == 101
        peer.send({"type": "nonsense"})
        first = peer.recv()
        time.sleep(3)
        peer.send({"type": "nonsense"})
        assert peer.recv()["type"] == first["type"]
    finally:
        peer.close()


def test_an_upgrade_that_drips_is_cut_off_too(port: int) -> None:
    with Line(port) as line:
        drip(line, request("/ws", headers="Upgrade: websocket\r\nConnection: Upgrade\r\n"))
        assert line.answer().status == 408


def test_a_refusal_stands_in_the_log_once(port: int, server: ServerProcess) -> None:
    refused(port, request(method="TRACE", headers="X-Request-ID: find-me-in-the-log\r\n"))
    rows = [json.loads(line) for line in server.output().splitlines() if "find-me-in-the-log" in line]
    assert [(row["event"], row["error"], row["remote_address"]) for row in rows] == [
        ("TRACE /healthz 405", "method_not_allowed", "127.0.0.1")
    ]


# --- addresses -------------------------------------------------------------------------------------------------------

SPOOFS = (
    "X-Forwarded-For: 6.6.6.6\r\nX-Real-IP: 6.6.6.7\r\nForwarded: for=6.6.6.8\r\nX-Forwarded-Host: evil.example\r\n"
)


def _audited_address(server: ServerProcess, headers: str) -> str:
    """Make an organization with `headers`; return the address in the row of the trail that tells of it."""
    name = f"from-{time.monotonic_ns()}"
    body = json.dumps({"organization_id": name, "name": name}).encode()
    headers = f"{BEARER}{headers}Content-Length: {len(body)}\r\n"
    answer = ask(server.port, request(ORGANIZATIONS, method="POST", headers=headers, body=body))
    assert answer.status == 201, answer.body
    script = (
        f"from orgs.models import AuditEntry; print(AuditEntry.objects.get(organization_id='{name}').remote_address)"
    )
    return manage("shell", "--no-imports", "-c", script, env=server.env).stdout.strip()


def test_a_spoofed_address_has_no_effect(port: int, server: ServerProcess) -> None:
    assert _audited_address(server, SPOOFS) == "127.0.0.1"
    assert not re.search(r"6\.6\.6\.\d", server.output())


def test_other_prefixes_of_the_path_have_no_effect(port: int) -> None:
    headers = "Daphne-Root-Path: /evil\r\nX-Script-Name: /evil\r\nX-Original-URL: /admin/\r\nX-Rewrite-URL: /admin/\r\n"
    answer = ask(port, request("/", headers=f"Accept: text/html\r\n{headers}{SPOOFS}"))
    assert (answer.status, answer.headers["location"]) == (302, "/admin/")
    answer = ask(port, request("/admin/", headers=f"Accept: text/html\r\n{headers}{SPOOFS}"))
    assert (answer.status, answer.headers["location"]) == (302, "/admin/login/?next=/admin/")


def test_the_address_comes_from_a_trusted_proxy_and_from_nobody_before_it(web: Callable[..., ServerProcess]) -> None:
    server = web({"DEV_BEARER_TOKEN": TOKEN, "TRUSTED_PROXIES": "127.0.0.1,10.0.0.0/8"})
    assert _audited_address(server, "X-Forwarded-For: 6.6.6.6, 7.7.7.7\r\nX-Real-IP: 8.8.8.8\r\n") == "7.7.7.7"
    assert _audited_address(server, "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 7.7.7.7, 10.1.2.3\r\n") == "7.7.7.7"
    assert _audited_address(server, f"X-Forwarded-For: {'9' * 300}\r\n") == "9" * 64, "the column is that wide"


def test_a_proxy_that_is_not_trusted_cannot_claim_another_scheme(web: Callable[..., ServerProcess]) -> None:
    server = web({"DEV_BEARER_TOKEN": TOKEN, "TRUSTED_PROXIES": "10.0.0.0/8"})
    assert _audited_address(server, SPOOFS) == "127.0.0.1"
    login = request("/admin/login/", headers="X-Forwarded-Proto: https\r\nOrigin: https://127.0.0.1\r\n", method="POST")
    assert ask(server.port, login.replace(b"\r\n\r\n", b"\r\nContent-Length: 0\r\n\r\n")).status == 403
