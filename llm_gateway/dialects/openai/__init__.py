"""The dialect of Openai: see `llm_gateway.shapes.Dialect`."""

from llm_gateway.problems import Problem
from llm_gateway.shapes import Decoder, Document, Outgoing
from llm_gateway.usage import Usage

BASE_URL = "https://api.openai.com/v1"


def headers(api_key: str) -> dict[str, str]:
    raise NotImplementedError


def chat(body: Document, *, model: str, is_stream: bool) -> Outgoing:
    raise NotImplementedError


def embeddings(body: Document, *, model: str) -> Outgoing:
    raise NotImplementedError


def answer(payload: object, *, model: str, call_id: str, created: int) -> Document | Problem:
    raise NotImplementedError


def embedded(payload: object, *, model: str) -> Document | Problem:
    raise NotImplementedError


def usage(payload: object) -> Usage | None:
    raise NotImplementedError


def decoder(*, model: str, call_id: str, created: int) -> Decoder:
    raise NotImplementedError


def problem(status: int, body: bytes) -> Problem:
    raise NotImplementedError
