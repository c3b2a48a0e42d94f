"""Which form an answer has: JSON, whatever a client says it accepts, so that errors are never anything else."""

from collections.abc import Iterable

from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request


class Negotiation(BaseContentNegotiation):
    """Answers in the first renderer."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> None:
        """Return no parser: `orgs.parsing` reads bodies, more strictly than DRF's `request.data` would."""

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        """Return the only renderer."""
        renderer = next(iter(renderers))
        return renderer, str(renderer.media_type)
