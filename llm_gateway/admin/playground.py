"""The playground: ask a model from the console, over the same doors as every client.

The data plane takes no cookie, so the page asks here for a short-lived access token of the signed-in person, over the
console's session with its CSRF token, and calls `/v1` itself.
"""

from typing import Any, Final

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache

from llm_gateway.admin import words
from llm_gateway.models import Call
from llm_gateway.plane.catalog import ECHO
from orgs import tokens
from orgs.admin.base import user
from orgs.models import Organization

OFFERED: Final = 200  # organizations to choose from; any other can be written


class Playground:
    """What the call log offers besides: a page to make calls from."""

    admin_site: Any
    has_view_permission: Any

    def playground_urls(self) -> list[URLPattern]:
        """Return the page, where it gets its token, and where it reads what its call came to."""
        wrap = self.admin_site.admin_view
        return [
            path("playground/", wrap(self.playground_view), name="llm_gateway_call_playground"),
            path("playground/token/", wrap(never_cache(self.token_view)), name="llm_gateway_call_token"),
            path("playground/outcome/", wrap(never_cache(self.outcome_view)), name="llm_gateway_call_outcome"),
        ]

    def playground_view(self, request: HttpRequest) -> HttpResponse:
        """Show the page."""
        if not self.has_view_permission(request):
            return HttpResponse(status=403)
        organizations, first = offered(request)
        context = self.admin_site.each_context(request) | {
            "title": "Playground",
            "organizations": organizations,
            "organization": first,
            "model": request.GET.get("model", "")[:200] or (f"{ECHO}/{ECHO}" if settings.LLM_ECHO_ENABLED else ""),
            "origin": f"{request.scheme}://{request.get_host()}",
        }
        return render(request, "admin/llm_gateway/playground/page.html", context)

    def token_view(self, request: HttpRequest) -> HttpResponse:
        """Hand out an access token of the signed-in person (POST): a sign-in, as `POST …/auth/login` makes one.

        Its refresh token stays here, so it ends with its lifetime, or when the person's sign-ins are ended.
        """
        if request.method != "POST" or not self.has_view_permission(request):
            return HttpResponse(status=405 if request.method != "POST" else 403)
        pair = tokens.sign_in(user(request), now=timezone.now())
        return JsonResponse({"access_token": pair.access_token, "expires_in": pair.expires_in})

    def outcome_view(self, request: HttpRequest) -> HttpResponse:
        """Answer what a call of the person's came to (`?call=`, its id); until the ledger has it, it is running."""
        if not self.has_view_permission(request):
            return HttpResponse(status=403)
        own = Call.objects.filter(user=user(request).get_username(), key_id="")
        row = own.filter(pk=request.GET.get("call", "")[:64]).first()
        if row is None or row.status == Call.Status.RUNNING:
            return JsonResponse({"status": Call.Status.RUNNING})
        return JsonResponse(_outcome(row))


def offered(request: HttpRequest) -> tuple[list[tuple[str, str]], str]:
    """Return the organizations to choose from, as (id, name), and the one that is chosen at first."""
    rows = Organization.objects.filter(is_active=True).exclude(status="suspended").order_by("pk")
    found = list(rows.values_list("pk", "name")[:OFFERED])
    home = settings.DEFAULT_ORGANIZATION_ID
    first = home if home in dict(found) else next((pk for pk, _ in found), "")
    return found, request.GET.get("organization", "")[:50] or first


def _outcome(row: Call) -> dict[str, Any]:
    return {
        "status": row.status,
        "error": row.error,
        "provider": row.provider,
        "model": row.model,
        "input_tokens": row.input_tokens,
        "output_tokens": row.output_tokens,
        "cost": words.usd(row.cost_usd_micros),
        "first_token": words.ms(row.first_token_ms),
        "took": words.ms(row.latency_ms),
        "attempts": row.attempts,
        "url": reverse("admin:llm_gateway_call_change", args=[row.pk]),
    }
