"""Refusals: what a caller of the data plane is told when a call cannot be made, in the shape of its surface."""

from typing import Any, Final

from llm_gateway.plane import routing
from llm_gateway.problems import Problem, kind_of
from llm_gateway.surfaces import chat, messages
from moolai.errors import CODES, AppError

Headers = list[tuple[bytes, bytes]]

ANTHROPIC: Final = "/v1/messages"
# Our codes → what the SDKs of the field know.
WORDS: Final = {
    "unauthenticated": "invalid_api_key",
    "rate_limited": "rate_limit_exceeded",
}
OWN_WORDS: Final = {word: code for code, word in WORDS.items()}


def own_code(problem: Problem) -> str:
    """Return the code of our own API for a problem: one of `errors.CODES`."""
    code = problem.code or ""
    if code in OWN_WORDS or code in CODES:
        return OWN_WORDS.get(code, code)
    if problem.status == 404:
        return "not_found"
    if problem.status >= 500:
        return "provider_timeout" if problem.status == 504 else "provider_error"
    return "rate_limited" if problem.status == 429 else "invalid_field"


class Failed(Exception):
    """A call that ends without an answer: what its caller is told, in which `headers` too.

    `is_final` says that trying again does not help.
    """

    def __init__(self, problem: Problem, *, is_final: bool = False, headers: Headers | None = None) -> None:
        super().__init__(problem.message)
        self.problem, self.is_final, self.headers = problem, is_final, headers or []


def of(error: AppError) -> Problem:
    """Return a refusal of ours as a surface shows it."""
    retry_after = error.retry_after_seconds or (5 if error.http_status == 503 else None)
    code = WORDS.get(error.code, error.code)
    kind = "api_error" if error.http_status == 503 else kind_of(error.http_status)
    return Problem(error.http_status, kind, error.detail, code=code, retry_after=retry_after)


def body(path: str, problem: Problem) -> dict[str, Any]:
    """Return the error object in the shape of the surface at `path`; OpenAI's where there is none."""
    surface = messages if path.rstrip("/").startswith(ANTHROPIC) else chat
    return dict(surface.error_body(problem))


def unknown_path(method: str, path: str) -> Problem:
    """Return the answer to what is not served; OpenAI has no kind of its own for it, Anthropic has."""
    return Problem(404, "not_found_error", f"Invalid URL ({method} {path[:200]})", code="unknown_url")


def unknown_model(model: str) -> Problem:
    """Return the answer to a model that nobody knows."""
    text = f"The model `{model[:200]}` does not exist or you do not have access to it."
    return Problem(404, "not_found_error", text, code="model_not_found", param="model")


def dead_ends(model: str, error: routing.DeadEnds) -> Problem:
    """Return the answer to an alias whose targets lead nowhere."""
    targets = ", ".join(f"`{name[:200]}`" for name in error.models)
    text = f"The alias `{model[:200]}` leads nowhere: no provider here has {targets}."
    return Problem(404, "not_found_error", text, code="model_not_found", param="model")


def unconfigured(model: str, error: routing.Unconfigured) -> Problem:
    """Return the answer to a model whose provider is not set up."""
    text = (
        f"No provider for the model `{model[:200]}` is configured: set {error.variable} in the environment, "
        "or add a provider."
    )
    return Problem(503, "api_error", text, code="provider_not_configured", param="model")
