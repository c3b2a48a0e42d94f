"""The surface of embeddings: see `llm_gateway.shapes.Surface`."""

from llm_gateway.problems import Problem
from llm_gateway.shapes import Asked, Document, Outgoing

SPEAKS = "openai"
PATH = "/embeddings"


def check(body: object) -> Asked:
    raise NotImplementedError


def read(body: Document) -> Document:
    raise NotImplementedError


def forward(body: Document, *, model: str) -> Outgoing:
    raise NotImplementedError


def answer(canonical: Document, *, request: Document, call_id: str, created: int) -> Document:
    raise NotImplementedError


def error_body(problem: Problem) -> Document:
    raise NotImplementedError
