"""Orchestrators in the console: the live list, the page of one, and the doors of its switch, panels and messages."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin import display
from django.contrib.admin.utils import quote
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesCheckboxFilter, TextFilter

from moolai.errors import AppError
from orchestrators import independence, instances, labels, selection
from orchestrators import messages as mail
from orchestrators.admin import badges, forms, panels
from orchestrators.admin.bulk import BulkActions
from orchestrators.admin.independence import switch
from orchestrators.models import Instance
from orgs.admin.base import ConsoleAdmin, user


class LabelsFilter(TextFilter):  # type: ignore[misc]
    """Only those with these labels."""

    title = "labels (env=prod, region=eu)"
    parameter_name = "labels"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Instance]) -> QuerySet[Instance]:
        """Apply them; a mistake selects nothing."""
        try:
            return selection.by_labels(queryset, labels.parse(self.value() or ""))
        except ValidationError:
            return queryset.none()


@admin.register(Instance)
class InstanceAdmin(BulkActions, ConsoleAdmin):
    """The fleet."""

    form = forms.InstanceForm
    list_display = [
        "orchestrator", "organization_", "status_", "connected", "seen", "version_", "configuration", "labels_",
        "independent",
    ]  # fmt: skip
    list_display_links = ["orchestrator"]
    list_filter = [
        ("status", ChoicesCheckboxFilter), "is_connected", ("organization", AutocompleteSelectFilter),
        ("config_status", ChoicesCheckboxFilter), LabelsFilter,
    ]  # fmt: skip
    list_select_related = ["organization"]
    list_before_template = "console/live_bar.html"
    search_fields = ["orchestrator_id", "name", "organization__organization_id", "organization__name"]
    search_help_text = "Search by id, name or organization"
    ordering = ["orchestrator_id"]
    autocomplete_fields = ["organization"]
    delete_confirmation_template = delete_selected_confirmation_template = "admin/orchestrators/instance/delete.html"
    change_form_template = "admin/orchestrators/instance/change_form.html"
    fieldsets = [
        ("Settings", {"fields": forms.IDENTITY}),
        ("Its own configuration", {"fields": [*forms.CONFIGURATION, "seen"]}),
        ("Deployment", {"fields": forms.DEPLOYMENT, "classes": ["collapse"]}),
    ]
    add_fieldsets = [
        (None, {"fields": ["orchestrator_id", "organization", "name"]}),
        ("Its own configuration", {"fields": forms.CONFIGURATION}),
    ]

    # --- columns ----------------------------------------------------------------------------------------------------

    @display(description="Orchestrator", ordering="orchestrator_id")
    def orchestrator(self, row: Instance) -> SafeString:
        """Show the id, and the name when it says more."""
        name = row.name if row.name != row.orchestrator_id else ""
        return format_html('<span class="mo-name"><b>{}</b><small>{}</small></span>', row.orchestrator_id, name)

    @display(description="Organization", ordering="organization__name")
    def organization_(self, row: Instance) -> SafeString:
        """Show the organization, with the way to it."""
        url = reverse("admin:orgs_organization_change", args=[quote(row.organization_id)])
        return format_html('<a class="mo-link" href="{}">{}</a>', url, row.organization.name)

    @display(description="Status", ordering="status")
    def status_(self, row: Instance) -> SafeString:
        """Show the badge."""
        return badges.status(row)

    @display(description="Socket", ordering="is_connected")
    def connected(self, row: Instance) -> SafeString:
        """Show the dot."""
        return badges.connected(row)

    @display(description="Last seen", ordering="last_seen")
    def seen(self, row: Instance) -> SafeString:
        """Show the ticking time."""
        return badges.seen(row)

    @display(description="Version", ordering="version")
    def version_(self, row: Instance) -> SafeString:
        """Show what it said it is, kept live."""
        element = '<span data-live="version" data-of="{}">{}</span>'
        return format_html(element, row.orchestrator_id, row.version or "–")

    @display(description="Config", ordering="config_status")
    def configuration(self, row: Instance) -> SafeString:
        """Show how far its configuration got."""
        return badges.config(row)

    @display(description="Labels")
    def labels_(self, row: Instance) -> SafeString:
        """Show the labels."""
        return badges.labels(row)

    @display(description="Independent", ordering="is_independent")
    def independent(self, row: Instance) -> SafeString:
        """Show the switch."""
        return badges.instance_switch(row)

    # --- reading and writing ----------------------------------------------------------------------------------------

    def get_queryset(self, request: HttpRequest) -> QuerySet[Instance]:
        """Leave deleted ones out, and while listing what the list does not show."""
        rows = Instance.objects.present()
        is_list = request.path == reverse("admin:orchestrators_instance_changelist")
        return rows.slim() if is_list else rows.select_related("organization")

    def save_model(self, request: HttpRequest, obj: Instance, form: Any, change: bool) -> None:
        """Make or change it by the registry's own functions: audited, and pushed to its session."""
        values = {name: form.cleaned_data[name] for name in form.cleaned_data if name in forms.EDITABLE}
        if change:
            changed = {name: value for name, value in values.items() if name in form.changed_data}
            expected = form.cleaned_data.get("seen")
            row = instances.update(obj, acting_user=user(request), expected=expected, **changed)
        else:
            cleaned = form.cleaned_data
            key, organization = cleaned["orchestrator_id"], cleaned["organization"]
            acting_user = user(request)
            may = acting_user.is_superuser
            row = instances.create(key, organization=organization, acting_user=acting_user, may_take_over=may, **values)
        obj.__dict__.update(row.__dict__)

    def delete_model(self, request: HttpRequest, obj: Instance) -> None:
        """Delete it by the registry's own function: its session is closed."""
        instances.delete(obj, acting_user=user(request))

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """Name what goes away: the row is kept as a tombstone, so nothing hangs on it."""
        rows = [str(obj) for obj in objs]
        return rows, {"orchestrators": len(rows)}, set(), []

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> Any:
        """Show the page with its panels."""
        extra = dict(extra_context or {})
        instance = self.get_object(request, object_id) if object_id and request.method == "GET" else None
        if instance is not None:
            extra |= panels.everything(instance) | {"message_form": forms.MessageForm()}
        return super().changeform_view(request, object_id, form_url, extra)

    # --- doors of its own -------------------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        """Add the switch, the panels and the message form."""
        wrap = self.admin_site.admin_view
        own = [
            path("<int:pk>/independence/", wrap(self.independence_view), name="orchestrators_instance_independence"),
            path("<int:pk>/panel/<slug:name>/", wrap(self.panel_view), name="orchestrators_instance_panel"),
            path("<int:pk>/message/", wrap(self.message_view), name="orchestrators_instance_message"),
        ]
        return [*own, *super().get_urls()]

    def independence_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Set the orchestrator's own flag."""

        def change(wanted: bool) -> dict[str, Any]:
            instance = self._get(request, pk)
            row = independence.set_instance(
                instance.orchestrator_id, is_independent=wanted, acting_user=user(request), reason="console"
            )
            return {
                "name": row.orchestrator_id,
                "is_independent": row.is_effectively_independent,
                "independence_source": row.independence_source,
                "status": row.status,
            }

        return switch(request, change)

    def panel_view(self, request: HttpRequest, pk: int, name: str) -> HttpResponse:
        """Answer one panel of the page, as it is now."""
        try:
            context = panels.one(name, self._get(request, pk))
        except KeyError:
            raise Http404 from None
        return render(request, f"console/panels/{name}.html", context)

    def message_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Queue a message (POST), or show the form again with what is wrong beside the field."""
        instance = self._get(request, pk)
        back = reverse("admin:orchestrators_instance_change", args=[pk])
        form = forms.MessageForm(request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid():
            kind, content = form.cleaned_data["message_type"], form.cleaned_data["content"]
            try:
                mail.queue(instance.orchestrator_id, message_type=kind, content=content, acting_user=user(request))
            except AppError as problem:
                form.add_error(None, problem.detail)
            else:
                messages.success(request, f"{kind} is queued for {instance}.")
                return HttpResponseRedirect(f"{back}#messages")
        context = self.admin_site.each_context(request) | {
            "title": f"Send a message to {instance}",
            "instance": instance,
            "opts": self.opts,
            "message_form": form,
            "back": back,
        }
        return render(request, "admin/orchestrators/instance/message.html", context)

    def _get(self, request: HttpRequest, pk: int) -> Instance:
        if not self.has_change_permission(request):
            raise PermissionDenied
        instance = self.get_queryset(request).filter(pk=pk).first()
        if instance is None:
            raise Http404("This orchestrator was deleted meanwhile.")
        return instance
