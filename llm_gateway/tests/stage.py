"""The gateway as clients meet it: a real web process with a real provider-shaped server behind it."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from llm_gateway.tests import desks, provider
from llm_gateway.tests.provider import Provider
from moolai.testing.world import World
from orchestrators.tests.live import Live, running

OPENAI_KEY = "sk-canary-openai-0123456789abcdef"
ANTHROPIC_KEY = "sk-ant-canary-0123456789abcdef"
AZURE_KEY = "canary-azure-0123456789abcdef"
GOOGLE_KEY = "AIza-canary-google-0123456789abcdef"
ORGANIZATION = "acme"


@dataclass
class Stage:
    """The server, the provider behind it, and the key of an operator of `acme`."""

    live: Live
    provider: Provider
    key: str

    @property
    def url(self) -> str:
        return self.live.server.url("").rstrip("/")

    def call(
        self, path: str, body: Any = None, *, key: str = "", headers: Mapping[str, str] | None = None, method: str = ""
    ) -> tuple[int, Any, dict[str, str]]:
        """Call the gateway; return status, JSON (or text) and the headers, their names in lower case."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"Authorization": f"Bearer {key or self.key}", "Content-Type": "application/json", **(headers or {})}
        request = urllib.request.Request(self.url + path, data=data, headers=sent, method=method or None)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, _parsed(answer.read()), _lower(answer.headers)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _parsed(error.read()), _lower(error.headers)

    def chat(self, text: str, *, model: str = "openai/gpt-4o-mini", **more: Any) -> tuple[int, Any, dict[str, str]]:
        """Ask for a chat completion."""
        return self.call("/v1/chat/completions", {"model": model, "messages": [user(text)], **more})


def user(text: str) -> Any:
    """Return a user's message."""
    return {"role": "user", "content": text}


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): text for name, text in headers.items()}


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return content.decode()


@contextmanager
def staged(world: World, blocker: Any, env: Mapping[str, str] | None = None) -> Iterator[Stage]:
    """Start both; the provider's addresses and keys stand in the environment of the web process."""
    with ExitStack() as stack:
        behind = stack.enter_context(provider.running())
        given = {
            "OPENAI_API_KEY": OPENAI_KEY,
            "OPENAI_BASE_URL": f"{behind.url}/v1",
            "ANTHROPIC_API_KEY": ANTHROPIC_KEY,
            "ANTHROPIC_BASE_URL": behind.url,
            "GOOGLE_API_KEY": GOOGLE_KEY,
            "GOOGLE_BASE_URL": behind.url,
            "VLLM_BASE_URL": f"{behind.url}/old/v1",  # a server that has chat completions alone
            "AZURE_OPENAI_ENDPOINT": f"{behind.url}/",
            "AZURE_OPENAI_API_KEY": AZURE_KEY,
            "LOG_LEVEL": "DEBUG",
            **(env or {}),
        }
        live = stack.enter_context(running(world, blocker, given))
        stack.enter_context(desks.own())
        key = live.key(ORGANIZATION, role="operator")
        yield Stage(live, behind, key)
        live.hang_up()
