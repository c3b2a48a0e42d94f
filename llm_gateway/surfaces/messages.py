"""The surface of messages: see `llm_gateway.shapes.Surface`."""

from llm_gateway.problems import Problem
from llm_gateway.shapes import Asked, Document, Encoder, Outgoing, Sniffer

SPEAKS = "anthropic"
PATH = "/v1/messages"


def check(body: object) -> Asked:
    raise NotImplementedError


def read(body: Document) -> Document:
    raise NotImplementedError


def forward(body: Document, *, model: str) -> Outgoing:
    raise NotImplementedError


def answer(canonical: Document, *, request: Document, call_id: str, created: int) -> Document:
    raise NotImplementedError


def encoder(*, request: Document, call_id: str, created: int, model: str) -> Encoder:
    raise NotImplementedError


def sniffer(*, wants_usage: bool) -> Sniffer:
    raise NotImplementedError


def error_body(problem: Problem) -> Document:
    raise NotImplementedError
