"""The audit trail: a list with filters, the file of what it shows, and whether its chains are as they were written."""

from collections.abc import Iterator
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin import display
from django.contrib.admin.options import IncorrectLookupParameters
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.views.decorators.cache import never_cache

from orgs import chain, downloads, trail
from orgs.admin import audit_filters
from orgs.admin.base import LongListAdmin, ago, badge, exact, user
from orgs.admin.trail import difference, pretty
from orgs.models import AuditEntry, AuditHead

CHECKED_ROWS = 10_000  # of one chain on one page: about half a second
SHOWN_CHAINS = 50


@admin.register(AuditEntry)
class AuditEntryAdmin(LongListAdmin):
    """Who changed what, when, from which value to which."""

    list_before_template = "admin/orgs/auditentry/tools.html"
    list_display = ["when", "actor_", "action_", "target", "organization_", "change"]
    list_display_links = ["when"]
    list_filter = [
        audit_filters.OrganizationFilter, audit_filters.ActorFilter, audit_filters.ActionFilter,
        audit_filters.TargetFilter, ("created_at", audit_filters.TimeFilter),
    ]  # fmt: skip
    search_fields = ["actor", "action", "target_id", "organization_id", "request_id", "reason"]
    search_help_text = "Search in actor, action, target, organization, request and reason"
    ordering = ["-id"]
    fields = [
        "time", "actor", "action", "target", "organization_", "reason", "before_", "after_", "remote_address",
        "request_id", "place",
    ]  # fmt: skip
    readonly_fields = fields

    # --- doors of its own -------------------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        """Add the export and the verification."""
        wrap = self.admin_site.admin_view
        own = [
            path("export/", wrap(never_cache(self.export_view)), name="orgs_auditentry_export"),
            path("verify/", wrap(never_cache(self.verify_view)), name="orgs_auditentry_verify"),
        ]
        return [*own, *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Show the list, with what its buttons need."""
        query = request.GET.copy()
        for name in ("p", "o", "all", "e"):
            query.pop(name, None)
        chosen = request.GET.get("organization", "")
        extra = {"export_query": query.urlencode(), "chain": urlencode({"organization": chosen}) if chosen else ""}
        return super().changelist_view(request, extra | (extra_context or {}))

    def export_view(self, request: HttpRequest) -> HttpResponseBase:
        """Answer the filtered rows as a file (POST `format`), whatever their number; the export is audited."""
        file_format = request.POST.get("format", "")
        if request.method != "POST" or not self.has_view_permission(request):
            return HttpResponse(status=405 if request.method != "POST" else 403)
        back = HttpResponseRedirect(reverse("admin:orgs_auditentry_changelist"))
        if file_format not in trail.FORMATS:
            messages.error(request, f"Choose a format: {' or '.join(trail.FORMATS)}.")
            return back
        try:
            listed = self.get_changelist_instance(request)
        except IncorrectLookupParameters:
            messages.error(request, "Nothing was exported: one of the filters cannot be understood.")
            return back
        filters = {name: str(value) for name, value in request.GET.items() if value}
        chosen = filters.get("organization", "").removeprefix(audit_filters.SYSTEM)
        _, pieces = trail.export(
            listed.queryset,
            file_format=file_format,
            filters=filters,
            acting_user=user(request),
            organization_id=chosen if AuditHead.objects.filter(pk=chosen).exists() else "",
        )
        return _download(request, pieces, file_format=file_format)

    def verify_view(self, request: HttpRequest) -> HttpResponse:
        """Check the newest rows of one chain (`?organization=`), or of the first ones by name."""
        if not self.has_view_permission(request):
            return HttpResponse(status=403)
        chosen = request.GET.get("organization")
        if chosen is not None:
            names, is_cut = ["" if chosen == audit_filters.SYSTEM else chosen], False
        else:
            found = AuditHead.objects.order_by("organization_id").values_list("organization_id", flat=True)
            names = list(found[: SHOWN_CHAINS + 1])
            names, is_cut = names[:SHOWN_CHAINS], len(names) > SHOWN_CHAINS
        rows = _verified(names)
        context = self.admin_site.each_context(request) | {
            "title": "Audit trail: verification",
            "opts": self.opts,
            "rows": rows,
            "is_cut": is_cut,
            "is_one": chosen is not None,
            "broken": sum(len(row["found"].findings) for row in rows if row["found"]),
            "limit": CHECKED_ROWS,
            "now": exact(timezone.now()),
        }
        return TemplateResponse(request, "admin/orgs/auditentry/verify.html", context)

    # --- columns ----------------------------------------------------------------------------------------------------

    @display(description="When", ordering="id")
    def when(self, row: AuditEntry) -> SafeString:
        """Show how long ago, and the exact time under it."""
        return format_html('{}<small class="mo-exact">{}</small>', ago(row.created_at), exact(row.created_at))

    @display(description="When")
    def time(self, row: AuditEntry) -> SafeString:
        """Show the time to the second, too."""
        return format_html("{} · {}", exact(row.created_at), ago(row.created_at))

    @display(description="Actor")
    def actor_(self, row: AuditEntry) -> SafeString:
        """Show who it was, with the way to everything else they did."""
        return _narrow(row.actor, actor=row.actor)

    @display(description="Action")
    def action_(self, row: AuditEntry) -> SafeString:
        """Show what was done, with the way to every other time."""
        return _narrow(row.action, action=row.action)

    @display(description="Target")
    def target(self, row: AuditEntry) -> str:
        """Show what was changed."""
        return f"{row.target_type.replace('_', ' ')} {row.target_id}"

    @display(description="Organization")
    def organization_(self, row: AuditEntry) -> SafeString:
        """Show where it was, with the way to the organization's trail."""
        return _narrow(row.organization_id or "–", organization=row.organization_id or audit_filters.SYSTEM)

    @display(description="Change")
    def change(self, row: AuditEntry) -> SafeString:
        """Show before and after, short."""
        return difference(row.before, row.after)

    @display(description="Before")
    def before_(self, row: AuditEntry) -> SafeString:
        """Show the values before."""
        return pretty(row.before)

    @display(description="After")
    def after_(self, row: AuditEntry) -> SafeString:
        """Show the values after."""
        return pretty(row.after)

    @display(description="Place in the chain")
    def place(self, row: AuditEntry) -> SafeString:
        """Show the row's number, and whether it is as it was written."""
        is_right = chain.digest(row) == row.hash
        mark = badge("green", "✓", "As written") if is_right else badge("red", "✖", "Edited afterwards")
        query = urlencode({"organization": row.organization_id or audit_filters.SYSTEM})
        url = f"{reverse('admin:orgs_auditentry_verify')}?{query}"
        return format_html('{} · {} · <a class="mo-link" href="{}">Verify the chain</a>', row.sequence, mark, url)


def _narrow(text: str, **query: str) -> SafeString:
    url = f"{reverse('admin:orgs_auditentry_changelist')}?{urlencode(query)}"
    return format_html('<a class="mo-link" href="{}">{}</a>', url, text)


def _verified(names: list[str]) -> list[dict[str, Any]]:
    """Check chain after chain until CHECKED_ROWS rows were read in all; the others are left to a click."""
    left, rows = CHECKED_ROWS, list[dict[str, Any]]()
    for name in names:
        found = chain.verify_newest(name, limit=left) if left > 0 else None
        left -= found.rows if found else 0
        query = urlencode({"organization": name or audit_filters.SYSTEM})
        rows.append({"name": name, "found": found, "query": query, "badge": _verdict(found)})
    return rows


def _verdict(found: chain.Verification | None) -> SafeString:
    if found is None:
        return badge("gray", "○", "Not checked yet")
    if found.findings:
        return badge("red", "✖", "Tampered with")
    return badge("green", "✓", "Intact") if found.is_whole else badge("blue", "✓", "Intact so far back")


def _download(request: HttpRequest, pieces: Iterator[bytes], *, file_format: str) -> StreamingHttpResponse:
    name = f"audit-trail-{timezone.now():%Y%m%d-%H%M%S}.{file_format}"
    return downloads.answer(request, pieces, file_name=name, content_type=trail.FORMATS[file_format][0])
