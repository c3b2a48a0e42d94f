"""Organizations in the console. They live beside the fleet because their page shows and republishes orchestrators."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin import display
from django.contrib.admin.utils import quote
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesCheckboxFilter

from orchestrators import independence, tenants
from orchestrators.admin import badges, config_editor
from orchestrators.admin.forms import JSONObject
from orchestrators.admin.independence import switch
from orchestrators.models import Instance
from orgs.admin.base import ConsoleAdmin, ago, user
from orgs.models import ApiKey, Organization

EDITABLE = ["name", "status", "is_active", "admin_email", "support_email", "website", "settings"]
SHOWN_ORCHESTRATORS = 50


class OrganizationForm(forms.ModelForm):  # type: ignore[type-arg]
    """An organization's columns that people set."""

    settings = JSONObject(help_text='JSON; "config" in it is the configuration, which its editor above changes, too.')

    class Meta:
        model = Organization
        fields = ["organization_id", *EDITABLE]


@admin.register(Organization)
class OrganizationAdmin(ConsoleAdmin):
    """Tenants; they are suspended, not deleted."""

    may_delete = False
    form = OrganizationForm
    list_display = ["organization_id", "name", "state", "fleet", "keys", "independent", "created"]
    list_filter = [("status", ChoicesCheckboxFilter), "is_independent"]
    list_before_template = "console/live_bar.html"
    search_fields = ["organization_id", "name"]
    ordering = ["organization_id"]
    change_form_template = "admin/orgs/organization/change_form.html"
    fieldsets = [
        ("Settings", {"fields": ["name", "status", "is_active"]}),
        ("Contact", {"fields": ["admin_email", "support_email", "website"]}),
        ("Configuration", {"fields": ["settings"]}),
    ]
    add_fieldsets = [
        (None, {"fields": ["organization_id", "name", "status"]}),
        ("Contact", {"fields": ["admin_email", "support_email", "website"]}),
        ("Configuration", {"fields": ["settings"]}),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Organization]:
        """Count orchestrators and keys along; a list reads no configuration."""
        present = Instance.objects.present()
        usable = ApiKey.objects.filter(revoked_at__isnull=True)
        is_list = request.path == reverse("admin:orgs_organization_changelist")
        rows = Organization.objects.defer("settings") if is_list else Organization.objects.all()
        return rows.annotate(
            instances=_count(present), online=_count(present.filter(is_connected=True)), usable_keys=_count(usable)
        )

    @display(description="Status", ordering="status")
    def state(self, row: Organization) -> SafeString:
        """Show the badge."""
        return badges.organization(row)

    @display(description="Orchestrators", ordering="instances")
    def fleet(self, row: Any) -> SafeString:
        """Show how many there are, with the way to them."""
        url = reverse("admin:orchestrators_instance_changelist")
        words = f"{row.instances} ({row.online} connected)"
        return format_html(
            '<a class="mo-link" href="{}?organization__organization_id__exact={}">{}</a>', url, row.pk, words
        )

    @display(description="API keys", ordering="usable_keys")
    def keys(self, row: Any) -> SafeString:
        """Show how many are usable, with the way to them."""
        url = reverse("admin:orgs_apikey_changelist")
        return format_html(
            '<a class="mo-link" href="{}?organization__organization_id__exact={}">{}</a>', url, row.pk, row.usable_keys
        )

    @display(description="Independent", ordering="is_independent")
    def independent(self, row: Organization) -> SafeString:
        """Show the switch."""
        return badges.organization_switch(row)

    @display(description="Created", ordering="created_at")
    def created(self, row: Organization) -> SafeString:
        """Show when it was made."""
        return ago(row.created_at)

    def save_model(self, request: HttpRequest, obj: Organization, form: Any, change: bool) -> None:
        """Make or change it by the registry's own functions; its orchestrators get the configuration that follows."""
        cleaned = {name: form.cleaned_data[name] for name in form.cleaned_data if name in EDITABLE}
        if not change:
            row = tenants.create(obj.pk, acting_user=user(request), **cleaned)
        else:
            changed = {name: value for name, value in cleaned.items() if name in form.changed_data}
            row = tenants.update(obj, acting_user=user(request), **changed)
        obj.__dict__.update(row.__dict__)

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> Any:
        """Show the page with its orchestrators."""
        extra = dict(extra_context or {})
        organization: Any = self.get_object(request, object_id) if object_id and request.method == "GET" else None
        if organization is not None:
            extra |= _page(organization)
        return super().changeform_view(request, object_id, form_url, extra)

    def get_urls(self) -> list[URLPattern]:
        """Add the switch, and the editor of the configuration."""
        wrap = self.admin_site.admin_view
        own = [
            path("<path:pk>/independence/", wrap(self.independence_view), name="orgs_organization_independence"),
            path("<path:pk>/configuration/", wrap(config_editor.view), name="orgs_organization_configuration"),
        ]
        return [*own, *super().get_urls()]

    def independence_view(self, request: HttpRequest, pk: str) -> HttpResponse:
        """Set the organization's flag, which its orchestrators inherit."""
        if not self.has_change_permission(request):
            return HttpResponse(status=403)

        def change(wanted: bool) -> dict[str, Any]:
            row = independence.set_organization(pk, is_independent=wanted, acting_user=user(request), reason="console")
            return {"name": row.pk, "is_independent": row.is_independent}

        return switch(request, change)


def _count(rows: QuerySet[Any]) -> Coalesce:
    """Count the organization's `rows` in a subquery of its own: joins would multiply them with each other."""
    own = rows.filter(organization=OuterRef("pk")).order_by().values("organization")
    return Coalesce(Subquery(own.annotate(number=Count("pk")).values("number")), 0)


def _page(organization: Any) -> dict[str, Any]:
    rows = Instance.objects.present().filter(organization=organization).slim()
    return {
        "organization": organization,
        "badge": badges.organization(organization),
        "switch": badges.organization_switch(organization),
        "fleet": fleet_rows(rows.order_by("orchestrator_id")[:SHOWN_ORCHESTRATORS]),
        "fleet_total": organization.instances,
        "config": config_editor.shown(organization),
        "fleet_url": reverse("admin:orchestrators_instance_changelist")
        + f"?organization__organization_id__exact={quote(organization.pk)}",
    }


def fleet_rows(rows: QuerySet[Instance]) -> list[dict[str, Any]]:
    """Return the compact table of orchestrators; `rows` must have read the organization along."""
    return [
        {
            "row": row,
            "url": reverse("admin:orchestrators_instance_change", args=[row.pk]),
            "badge": badges.status(row),
            "dot": badges.connected(row),
            "seen": badges.seen(row),
            "switch": badges.instance_switch(row),
        }
        for row in rows
    ]
