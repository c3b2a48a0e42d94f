"""What the gateway adds to the page of an API key: what it may spend, and what it spent."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode

from llm_gateway.admin import meters
from llm_gateway.admin.budgets import limits_of
from orgs.admin.keys import ApiKeyAdmin
from orgs.models import ApiKey, SpendingLimit

admin.site.unregister(ApiKey)


@admin.register(ApiKey)
class GatewayKeyAdmin(ApiKeyAdmin):
    """Keys, with their budgets."""

    change_form_template = "admin/llm_gateway/key/change_form.html"

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> Any:
        """Show one key with its budget."""
        row = self.get_object(request, object_id) if object_id else None
        extra = {**(extra_context or {}), **(_budget(row) if row else {})}
        return super().changeform_view(request, object_id, form_url, extra)


def _budget(key: ApiKey) -> dict[str, Any]:
    calls = reverse("admin:llm_gateway_call_changelist")
    refused = reverse("admin:llm_gateway_refusal_changelist")
    of_key = urlencode({"key": key.key_id})
    found: dict[str, Any] = {"calls_url": f"{calls}?{of_key}", "refusals_url": f"{refused}?{of_key}"}
    row = SpendingLimit.objects.filter(key=key).select_related("key").first()
    if row is None:
        asked = urlencode({"organization": key.organization_id, "key": str(key.pk)})
        return found | {"limits_url": f"{reverse('admin:orgs_spendinglimit_add')}?{asked}"}
    return found | {
        "limits_url": reverse("admin:orgs_spendinglimit_change", args=[row.pk]),
        "meter": meters.show(meters.read([row], now=timezone.now())[row.pk]),
        "limits": ", ".join(
            [*limits_of(row), *([f"only {', '.join(row.allowed_models)}"] if row.allowed_models else [])]
        ),
    }
