"""REST doors of an organization's prompts (API §6): they decide who may ask what; `endpoint` then runs it.

A server that speaks no ASGI writes the prompt down and leaves it waiting for its stream.
"""

import json
from typing import Any, Final

from django.db.models import QuerySet
from django.http import HttpResponse
from rest_framework.request import Request
from rest_framework.response import Response

from llm_gateway.models import Prompt
from llm_gateway.prompts import asking, book, frames, standing, waiting
from llm_gateway.prompts.book import Asking
from llm_gateway.prompts.rows import PromptAnswer, PromptDocument, PromptRow, PromptWish
from llm_gateway.prompts.running import Plan
from orgs import access, rest
from orgs.models import Organization

SLOT: Final = "moolai.prompt"  # where the ASGI scope takes the plan
EXACT: Final = {"status": "status", "agent_id": "agent_id", "model": "model", "created_by": "created_by"}
FAILURES: Final = (
    "conflict", "content_blocked", "insufficient_quota", "model_not_found", "overloaded", "parameter_not_allowed",
    "provider_error", "provider_not_configured", "provider_timeout", "provider_unavailable",
)  # fmt: skip


def _organization(request: Request, organization_id: str) -> Organization:
    return access.get(request, Organization.objects.all(), field="pk", pk=organization_id)


def _rows(organization_id: str) -> QuerySet[Prompt]:
    return Prompt.objects.filter(organization_id=organization_id)


def _slot(request: Request) -> list[Plan] | None:
    slot: list[Plan] | None = getattr(request._request, "scope", {}).get(SLOT)
    return slot


def _plan(request: Request, row: Prompt, **more: Any) -> Plan:
    request_id = getattr(request._request, "request_id", "")
    own: dict[str, Any] = {"organization_id": row.organization_id, "is_private": row.is_private}
    return Plan(row.prompt_id, headers=dict(request.headers), request_id=request_id, **own, **more)


class Prompts(rest.View):
    """`/api/v1/orchestrators/{organization_id}/prompts`."""

    @rest.operation(
        PromptRow,
        shape=rest.Shape.PAGE,
        parameters={
            "status": rest.one_of(list(Prompt.Status.values), "Only prompts that stand so."),
            "agent_id": rest.Parameter("Only prompts to this agent."),
            "model": rest.Parameter("Only prompts that this model answered, by the provider's name for it."),
            "created_by": rest.Parameter("Only prompts of this caller, by the name that is shown."),
            "since": rest.Parameter("From this moment on.", "date-time"),
            "until": rest.Parameter("Until before this moment.", "date-time"),
        },
    )
    def get(self, request: Request, organization_id: str) -> Response:
        """List the organization's prompts, newest first; nothing of their texts is among it."""
        organization = _organization(request, organization_id)
        wanted = {field: self.query[name] for name, field in EXACT.items() if self.query[name]}
        rows = _rows(organization.pk).filter(**wanted)
        if since := self.query["since"]:
            rows = rows.filter(created_at__gte=since)
        if until := self.query["until"]:
            rows = rows.filter(created_at__lt=until)
        return rest.page(request, rows.order_by("-id"), PromptRow)

    @rest.operation(PromptAnswer, body=PromptWish, status=201, errors=FAILURES)
    def post(self, request: Request, organization_id: str) -> Response:
        """Ask a model, alone or with an agent's settings, and answer with what it said.

        With `stream` it is only written down (`pending`): `GET …/prompts/{id}/stream` runs it and tells its answer.
        """
        organization = _organization(request, organization_id)
        stands = standing.of(access.caller(request), organization)
        wish = rest.body(request, PromptWish)
        asked, is_stream = asking.document(organization, wish), wish.get("stream", False)
        model = asking.known(organization, asked["model"]) if is_stream else ""  # else it is known with the answer
        row = book.create(organization, asked=asked, how=Asking(stands.name, is_stream=is_stream, model=model))
        slot = _slot(request)
        if slot is not None and not is_stream:
            slot.append(_plan(request, row, standing=stands, asked=asked))
        elif row.is_private:
            waiting.put(row.prompt_id, asked, organization_id=row.organization_id)
        return rest.answer(PromptAnswer(row).data, status=201)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Answer what is sent again with the prompt as it is now: what was stored is from before it was run."""
        if "Idempotency-Replayed" in response and response.status_code == 201:
            prompt_id = json.loads(response.content)["data"]["prompt_id"]
            row = _rows(kwargs["organization_id"]).select_related("content").filter(prompt_id=prompt_id).first()
            if row is not None:
                response = rest.answer(PromptAnswer(row).data, status=201)
                response["Idempotency-Replayed"] = "true"
        return super().finalize_response(request, response, *args, **kwargs)


def _prompt(request: Request, organization_id: str, prompt_id: str) -> Prompt:
    return access.get(request, _rows(organization_id).select_related("content"), prompt_id=prompt_id)


class OnePrompt(rest.View):
    """`…/prompts/{id}`."""

    @rest.operation(PromptDocument)
    def get(self, request: Request, organization_id: str, prompt_id: str) -> Response:
        """Return one with what was asked and answered, where that is kept."""
        return rest.answer(PromptDocument(_prompt(request, organization_id, prompt_id)).data)


class PromptStream(rest.View):
    """`…/prompts/{id}/stream`."""

    @rest.operation(content_types=(frames.CONTENT_TYPE,))
    def get(self, request: Request, organization_id: str, prompt_id: str) -> HttpResponse:
        """Follow a prompt's answer, as server-sent events: `start`, `token`s, then `done` or `error`, and the end.

        One that waits is run, on behalf of whoever opens its stream; one that is over is told again where it is kept.
        `done` holds tokens, cost and latency.
        """
        row = _prompt(request, organization_id, prompt_id)
        slot, stands, asked = _slot(request), None, None
        if row.status == Prompt.Status.PENDING:
            stands = standing.of(access.caller(request), row.organization)
            asked = waiting.take(row.prompt_id) if slot is not None else None
        if slot is not None:
            slot.append(_plan(request, row, standing=stands, asked=asked, is_stream=True))
        content = b"" if slot is not None else frames.start(row.prompt_id) + frames.told(row)
        return HttpResponse(content, content_type=frames.CONTENT_TYPE, headers=frames.HEADERS)
