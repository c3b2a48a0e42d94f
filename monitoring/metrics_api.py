"""The door of `/metrics`: what Prometheus scrapes (API §5)."""

import hmac
import ipaddress
from typing import Any, Final

from django.conf import settings
from django.http import HttpResponse
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.views import APIView

from monitoring.metrics import prometheus
from moolai.errors import AppError
from orgs import access, rest
from orgs.authentication import Caller

FORWARDED: Final = ("X-Forwarded-For", "Forwarded", "X-Real-IP")
TYPES: Final = ("text/plain", "application/openmetrics-text")


class Scrape(rest.View):
    """`/metrics`: for METRICS_TOKEN, for superadmins, and without a credential for who is on this host.

    It speaks of the installation, never of one organization, and names none.
    """

    rate = None
    permission_classes = ()

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Find out who calls: the token of metrics is nobody of ours, and who is on this host may be nobody."""
        if _has_token(request):
            request.user = None  # type: ignore[assignment]  # nobody of ours
        else:
            self._find_out(request, *args, **kwargs)
        self.read_url(request, kwargs)

    def _find_out(self, request: Request, *args: Any, **kwargs: Any) -> None:
        APIView.initial(self, request, *args, **kwargs)
        if not isinstance(request.user, Caller):
            if not _is_on_this_host(request):
                raise AppError("unauthenticated")
        elif wanted := access.chosen(request):
            access.check(request, wanted)

    @rest.operation(content_types=TYPES)
    def get(self, request: Request) -> HttpResponse:
        """Answer the metrics in Prometheus' text format, or in OpenMetrics where that is asked for."""
        if isinstance(request.user, Caller):
            access.require_superadmin(request)
        body, content_type = prometheus.exposition(now=timezone.now(), accept=request.headers.get("Accept", ""))
        return HttpResponse(body, content_type=content_type, headers={"Cache-Control": "no-store"})


def _has_token(request: Request) -> bool:
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    if not settings.METRICS_TOKEN or scheme.lower() != "bearer":
        return False
    return hmac.compare_digest(secret.strip().encode(), settings.METRICS_TOKEN.encode())


def _is_on_this_host(request: Request) -> bool:
    """Whether the call came over loopback, and not through a proxy that stands there."""
    if any(name in request.headers for name in FORWARDED):
        return False
    try:
        return ipaddress.ip_address(request.META.get("REMOTE_ADDR", "")).is_loopback
    except ValueError:
        return False
