"""API keys: made here, shown once, revoked here."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin import display
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.widgets import UnfoldAdminRadioSelectWidget

from orgs import keys
from orgs.admin.base import ConsoleAdmin, ago, exact, user
from orgs.models import ApiKey, Role
from orgs.models.organization import validate_identifier

KINDS = {
    "orchestrator": "Orchestrator — opens sessions on /ws",
    Role.ADMIN: "Admin — reads and writes the organization through the API",
    Role.OPERATOR: "Operator — reads, and runs the fleet through the API",
    Role.VIEWER: "Viewer — reads the organization through the API",
}


class KeyForm(forms.ModelForm):  # type: ignore[type-arg]
    """What a new key is for."""

    kind = forms.ChoiceField(
        choices=list(KINDS.items()), initial="orchestrator", widget=UnfoldAdminRadioSelectWidget, label="What it may do"
    )

    class Meta:
        model = ApiKey
        fields = ["organization", "name", "orchestrator_id", "expires_at"]

    def clean_orchestrator_id(self) -> str:
        """Refuse what cannot be an orchestrator's id."""
        value = str(self.cleaned_data["orchestrator_id"] or "").strip()
        if value:
            validate_identifier(value)
        return value

    def clean_expires_at(self) -> datetime | None:
        """Refuse a key that would be dead on arrival."""
        value: datetime | None = self.cleaned_data["expires_at"]
        if value is not None and value <= timezone.now():
            raise forms.ValidationError("This time has passed already.")
        return value

    def clean(self) -> dict[str, Any]:
        """Bind only keys that open sessions."""
        cleaned = super().clean() or {}
        if cleaned.get("orchestrator_id") and cleaned.get("kind") != "orchestrator":
            self.add_error("orchestrator_id", "Only an orchestrator's key can be bound to one orchestrator.")
        return cleaned


@admin.register(ApiKey)
class ApiKeyAdmin(ConsoleAdmin):
    """Keys of orchestrators and tools; only a hash of the secret is stored."""

    may_delete = False
    list_display = ["name", "prefix_", "organization", "may", "bound", "expires", "state"]
    list_filter = [("organization", AutocompleteSelectFilter), "role"]
    list_select_related = ["organization"]
    search_fields = ["name", "prefix", "key_id", "orchestrator_id", "organization__organization_id"]
    autocomplete_fields = ["organization"]
    actions = ["revoke_chosen"]
    readonly = ["name", "state", "key_id", "prefix_", "organization", "may", "bound", "expires", "made"]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Let keys be made and revoked, never changed; the list offers its action."""
        return obj is None and super().has_change_permission(request, obj)

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        """Use the form of a new key."""
        return super().get_form(request, obj, change, **(kwargs if obj else kwargs | {"form": KeyForm}))

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Show what is known, or ask what is needed."""
        if obj:
            return [(None, {"fields": self.readonly})]
        return [(None, {"fields": ["organization", "name", "kind", "orchestrator_id", "expires_at"]})]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Show everything of a made key."""
        return self.readonly if obj else []

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Make the key; its secret travels on the object to the one page that shows it."""
        kind = form.cleaned_data["kind"]
        is_session = kind == "orchestrator"
        row, secret = keys.create(
            obj.organization,
            name=obj.name,
            acting_user=user(request),
            role="" if is_session else kind,
            scopes=["orchestrator"] if is_session else [],
            orchestrator_id=obj.orchestrator_id,
            expires_at=obj.expires_at,
        )
        obj.__dict__.update(row.__dict__)
        obj.secret_once = secret

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: Any = None) -> HttpResponse:
        """Show the secret, this one time."""
        context = self.admin_site.each_context(request) | {
            "title": "Key created",
            "opts": self.opts,
            "key": obj,
            "secret": obj.secret_once,
            "orchestrator_id": obj.orchestrator_id or f"{obj.organization_id}-1",
            "origin": request.get_host(),
            "scheme": "wss" if request.is_secure() else "ws",
        }
        return TemplateResponse(request, "admin/orgs/apikey/secret.html", context)

    def get_urls(self) -> list[URLPattern]:
        """Add the door that revokes."""
        view = self.admin_site.admin_view(self.revoke_view)
        return [path("<int:pk>/revoke/", view, name="orgs_apikey_revoke"), *super().get_urls()]

    def revoke_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Revoke one key (POST)."""
        row = self.get_object(request, str(pk))
        if request.method != "POST" or row is None or not self.has_add_permission(request):
            return HttpResponse(status=404 if row is None else 405 if request.method != "POST" else 403)
        keys.revoke(row, acting_user=user(request))
        messages.success(request, f"{row.name} is revoked: what it opened is closed within 5 seconds.")
        return HttpResponseRedirect(reverse("admin:orgs_apikey_change", args=[pk]))

    @admin.action(description="Revoke the chosen keys", permissions=["add"])
    def revoke_chosen(self, request: HttpRequest, chosen: QuerySet[ApiKey]) -> None:
        """Revoke the chosen keys."""
        rows = list(chosen.filter(revoked_at__isnull=True))
        for row in rows:
            keys.revoke(row, acting_user=user(request))
        messages.success(request, f"{len(rows)} revoked: what they opened is closed within 5 seconds.")

    @display(description="Secret")
    def prefix_(self, row: ApiKey) -> SafeString:
        """Show how the secret begins."""
        return format_html("<code>{}…</code>", row.prefix)

    @display(description="May")
    def may(self, row: ApiKey) -> str:
        """Show the role or the scopes."""
        return row.role or ", ".join(row.scopes)

    @display(description="Bound to", ordering="orchestrator_id")
    def bound(self, row: ApiKey) -> str:
        """Show the one orchestrator it may be."""
        return row.orchestrator_id or "any of the organization"

    @display(description="Expires", ordering="expires_at")
    def expires(self, row: ApiKey) -> str:
        """Show when it expires."""
        return exact(row.expires_at) if row.expires_at else "never"

    @display(description="Created", ordering="created_at")
    def made(self, row: ApiKey) -> SafeString:
        """Show when it was made."""
        return ago(row.created_at)

    @display(description="State")
    def state(self, row: ApiKey) -> SafeString:
        """Show whether it works."""
        if row.revoked_at:
            glyph, tone, word = "✖", "red", "Revoked"
        elif not row.is_usable(now=timezone.now()):
            glyph, tone, word = "○", "gray", "Expired"
        else:
            glyph, tone, word = "●", "green", "Usable"
        return format_html('<span class="mo-badge mo-badge-{}"><i>{}</i> {}</span>', tone, glyph, word)
