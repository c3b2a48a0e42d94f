"""Where calls go, live: to the addresses that were checked, with the key of their host, and nowhere a caller says.

The web process resolves names as a file here says (a `sitecustomize`). 127.0.0.2 plays the provider's public address,
which a superadmin allowed; 127.0.0.1 on the same port is the inside that nobody may reach.
"""

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import pytest

from llm_gateway.models import Provider
from llm_gateway.tests.stage import ORGANIZATION, Stage, staged, user
from moolai.testing.world import World
from orchestrators.tests.live import eventually
from orgs import networks

pytestmark = [pytest.mark.once, pytest.mark.services]
OUTSIDE, INSIDE = "127.0.0.2", "127.0.0.1"
PROVIDERS = f"/api/v1/orchestrators/{ORGANIZATION}/providers"
KEY = "sk-canary-destination-0123456789"
# What names mean when they are saved, and what each lookup answers after that, the last one for ever.
NAMES = ["good.test", "other.test", "rebind.test", "inside.test", "both.test", "mapped.test", "metadata.test"]
SAVED: dict[str, list[list[str]]] = {name: [[OUTSIDE]] for name in NAMES}
LATER: dict[str, list[list[str]]] = {
    "rebind.test": [[OUTSIDE], [INSIDE]],
    "inside.test": [[INSIDE]],
    "both.test": [[OUTSIDE, INSIDE]],
    "mapped.test": [["::ffff:127.0.0.1"]],
    "metadata.test": [["169.254.169.254"]],
}
RESOLVER = """
import json, socket
real, state = socket.getaddrinfo, {{"text": "", "names": {{}}}}

def look_up(host, port, *rest, **more):
    if not str(host).endswith(".test"):
        return real(host, port, *rest, **more)
    with open({path!r}) as file:
        text = file.read()
    if text != state["text"]:
        state.update(text=text, names=json.loads(text))
    answers = state["names"][host]
    found = answers.pop(0) if len(answers) > 1 else answers[0]
    kinds = [(socket.AF_INET6 if ":" in one else socket.AF_INET, one) for one in found]
    return [(kind, socket.SOCK_STREAM, 6, "", (one, port, *([0, 0] if ":" in one else []))) for kind, one in kinds]

socket.getaddrinfo = look_up
"""
WHOLE = {
    "id": "x", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}  # fmt: skip


class Desk(http.server.BaseHTTPRequestHandler):
    """Answers as the model's name says, closes each connection, and keeps what it was sent under its own address."""

    seen: ClassVar[dict[str, list[dict[str, str]]]] = {OUTSIDE: [], INSIDE: []}

    server: http.server.ThreadingHTTPServer

    def do_POST(self) -> None:
        found = {name.lower(): text for name, text in self.headers.items()}
        address, port = str(self.server.server_address[0]), self.server.server_address[1]
        self.seen[address].append(found)
        model = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["model"]
        match model:
            case "redirect":
                self._answer(307, b"", Location=f"http://{INSIDE}:{port}/v1/chat/completions")
            case "endless":
                self._pour(b'{"id": "' + b"x" * 65_536, kind="application/json")
            case "line":
                self._pour(b"data: " + b"x" * 65_536, kind="text/event-stream")
            case "packed":
                self._answer(200, b"\x1f\x8b\x08" + b"\0" * 100, **{"Content-Encoding": "gzip"})
            case _:
                self._answer(200, json.dumps(WHOLE).encode(), **{"Content-Type": "application/json"})

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, text in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)

    def _pour(self, part: bytes, *, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()
        try:
            for _ in range(1_000):  # 64 MiB, without an end
                self.wfile.write(part)
                part = part[-65_536:]
        except OSError:
            pass

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def listening() -> Iterator[int]:
    """Listen at both addresses on one port."""
    first = http.server.ThreadingHTTPServer((OUTSIDE, 0), Desk)
    port = int(first.server_address[1])
    second = http.server.ThreadingHTTPServer((INSIDE, port), Desk)
    for server in (first, second):
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield port
    finally:
        for server in (first, second):
            server.shutdown()
            server.server_close()


@pytest.fixture(scope="module")
def stage(world: World, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    directory = tmp_path_factory.mktemp("resolver")
    meaning = directory / "names.json"
    meaning.write_text(json.dumps(SAVED))
    (directory / "sitecustomize.py").write_text(RESOLVER.format(path=str(meaning)))
    env = {"PYTHONPATH": str(directory), "LLM_RETRIES": "0", "LLM_UNKNOWN_PRICE": "estimate"}
    with listening() as port, staged(world, django_db_blocker, env) as found:
        networks.allow(found.live.organization(ORGANIZATION), cidr=f"{OUTSIDE}/32", acting_user=None)
        for host in NAMES:
            fields = {"name": host.partition(".")[0], "dialect": "openai", "api_key": KEY}
            made = found.live.call("POST", PROVIDERS, {**fields, "base_url": f"http://{host}:{port}/v1"})
            assert made[0] == 201, made
        meaning.write_text(json.dumps(SAVED | LATER))
        assert found.chat("warm", model="good/m")[0] == 200  # what is known now was read after the rows were made
        yield found


@pytest.fixture(autouse=True)
def nobody_got_inside(stage: Stage) -> Iterator[None]:
    """Forget what was seen before; nothing may have reached the inside."""
    Desk.seen[OUTSIDE].clear()
    yield
    assert Desk.seen[INSIDE] == []


def test_the_address_that_was_checked_is_the_one_that_is_called_whatever_the_name_means_then(stage: Stage) -> None:
    for number in range(4):
        assert stage.chat(f"call {number}", model="rebind/m")[0] == 200
    assert [seen["host"].partition(":")[0] for seen in Desk.seen[OUTSIDE]] == ["rebind.test"] * 4


@pytest.mark.parametrize("name", ["inside", "both", "mapped", "metadata"])
def test_a_name_that_leads_inside_is_refused_when_it_is_called(stage: Stage, name: str) -> None:
    status, body, _ = stage.chat("hello", model=f"{name}/m")
    assert (status, body["error"]["code"]) == (502, "provider_unreachable")
    assert not any(address in json.dumps(body) for address in (OUTSIDE, INSIDE, "169.254"))
    assert Desk.seen[OUTSIDE] == []


@pytest.mark.parametrize(
    ("model", "is_stream", "code"),
    [
        ("redirect", False, "provider_error"),
        ("redirect", True, "provider_error"),
        ("packed", False, "bad_provider_answer"),
    ],
)
def test_a_redirect_is_not_followed_and_nothing_is_unpacked(
    stage: Stage, model: str, is_stream: bool, code: str
) -> None:
    status, body, _ = stage.chat("hello", model=f"good/{model}", stream=is_stream)
    assert (status, body["error"]["code"]) == (502, code)


def test_an_answer_without_end_is_cut_off(stage: Stage) -> None:
    status, body, _ = stage.chat("hello", model="good/endless")
    assert (status, body["error"]["code"]) == (502, "provider_error")
    status, body, _ = stage.chat("hello", model="good/line", stream=True)
    assert "bad_provider_answer" in json.dumps(body)
    assert "[DONE]" not in json.dumps(body)


def test_a_key_goes_to_its_own_host_alone(stage: Stage) -> None:
    assert stage.chat("hello", model="other/m")[0] == 200
    assert Desk.seen[OUTSIDE][-1]["authorization"] == f"Bearer {KEY}"
    row = Provider.objects.get(name="other")
    moved = {"base_url": row.base_url.replace("other.test", "good.test")}
    assert stage.live.call("PATCH", f"{PROVIDERS}/{row.provider_id}", moved)[1]["data"]["api_key"] == ""
    assert eventually(lambda: _host_seen(stage) == "good.test", timeout=8)
    assert all(KEY not in json.dumps(seen) for seen in Desk.seen[OUTSIDE] if "good.test" in seen["host"])


def _host_seen(stage: Stage) -> str:
    assert stage.chat("hello", model="other/m")[0] == 200
    return Desk.seen[OUTSIDE][-1]["host"].partition(":")[0]


@pytest.mark.parametrize(
    "path",
    ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/messages", "/api/v1/llm/chat"],
)
def test_nothing_in_a_body_or_a_header_chooses_where_a_call_goes(stage: Stage, path: str) -> None:
    inside = f"http://{INSIDE}:{stage.provider.port}/v1"
    plain = {"model": "good/m", "max_tokens": 5, "messages": [user("hi")], "input": "hi", "prompt": "hi"}
    if path != "/v1/completions":
        plain.pop("prompt")
    if path not in ("/v1/embeddings", "/v1/responses"):
        plain.pop("input")
    if path in ("/v1/embeddings", "/v1/responses", "/v1/completions"):
        plain.pop("messages")
    for name in ("api_base", "base_url", "api_key", "api_version", "custom_llm_provider", "extra_headers"):
        status, body, _ = stage.call(path, {**plain, name: inside})
        assert status == 400, (name, body)
        assert "parameter_not_allowed" in json.dumps(body)
    assert Desk.seen[OUTSIDE] == []
    headers = {
        "X-Api-Base": inside, "X-Portkey-Custom-Host": inside, "Api-Key": "sk-of-the-caller", "Proxy": inside,
        "X-Forwarded-Host": "evil", "Cookie": "a=b", "Referer": inside, "Forwarded": "host=evil",
    }  # fmt: skip
    stage.call(path, plain, headers=headers)
    assert stage.provider.seen == []
    for seen in Desk.seen[OUTSIDE]:
        assert seen["authorization"] == f"Bearer {KEY}"
        assert seen["host"].startswith("good.test")
        assert not {name.lower() for name in headers} & seen.keys()
        assert stage.key not in json.dumps(seen)
