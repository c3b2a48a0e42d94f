"""What every page of the console shares: who may open it, and that writes go through rooms, which may refuse."""

from datetime import datetime
from typing import Any

from django.contrib import messages
from django.contrib.admin import ShowFacets
from django.contrib.admin.utils import quote, unquote
from django.contrib.auth.models import AnonymousUser
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.timesince import timesince, timeuntil
from unfold.admin import ModelAdmin
from unfold.paginator import InfinitePaginator

from moolai.errors import AppError
from orgs.models import User


def user(request: HttpRequest) -> User:
    """Return the signed-in user; the console's pages are never reached without one."""
    who: User | AnonymousUser = request.user
    assert isinstance(who, User)
    return who


def is_superadmin(request: HttpRequest) -> bool:
    """Whether the request comes from a superadmin: nobody else sees the console."""
    who = request.user
    return bool(who.is_active and getattr(who, "is_superuser", False))


def ago(moment: datetime | None, *, of: str = "") -> SafeString:
    """Show a time as “2 seconds ago”, which live.js keeps ticking; `of` names the orchestrator it is `last_seen` of."""
    mark = format_html(' data-live="last_seen" data-of="{}"', of) if of else ""
    if moment is None:
        return format_html('<time class="mo-ago" data-ago{}>never</time>', mark)
    iso = moment.isoformat().replace("+00:00", "Z")
    text = _words(moment, now=timezone.now())
    return format_html(
        '<time class="mo-ago" data-ago datetime="{}" title="{}"{}>{}</time>', iso, exact(moment), mark, text
    )


def exact(moment: datetime | None) -> str:
    """Show a time to the second, in UTC."""
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC" if moment else "–"


def _words(moment: datetime, *, now: datetime) -> str:
    seconds = int((now - moment).total_seconds())
    if seconds < 1:
        return "just now"
    if seconds < 60:
        return f"{seconds} second{'s' * (seconds != 1)} ago"
    return f"{timesince(moment, now, depth=1)} ago".replace("\xa0", " ")


def until(moment: datetime, *, now: datetime) -> str:
    """Say how far ahead a time is: “in 3 hours”."""
    seconds = int((moment - now).total_seconds())
    if seconds < 60:
        return f"in {max(seconds, 0)} second{'s' * (seconds != 1)}"
    return f"in {timeuntil(moment, now, depth=1)}".replace("\xa0", " ")


def badge(tone: str, glyph: str, word: str) -> SafeString:
    """Show a state as a badge; tones are green, blue, amber, red and gray."""
    return format_html('<span class="mo-badge mo-badge-{}"><i>{}</i> {}</span>', tone, glyph, word)


class ConsolePermissions:
    """Superadmins may do what the page offers; everybody else sees nothing."""

    may_add = may_change = may_delete = True

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Whether the page is listed."""
        return is_superadmin(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whether the page opens."""
        return is_superadmin(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Whether rows may be made here."""
        return self.may_add and is_superadmin(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whether rows may be changed here."""
        return self.may_change and is_superadmin(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whether rows may be deleted here."""
        return self.may_delete and is_superadmin(request)


class ConsoleAdmin(ConsolePermissions, ModelAdmin):  # type: ignore[misc]
    """A page whose writes go through a room; the audit trail replaces Django's own log."""

    list_fullwidth = True
    list_filter_submit = True
    list_per_page = 50
    add_title = ""  # of the form for a new row that is not edited afterwards: it is sent once, and leads to its page

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Show the list under the name the sidebar has for it."""
        title = capfirst(self.opts.verbose_name_plural)
        answer: HttpResponse = super().changelist_view(request, {"title": title, **(extra_context or {})})
        return answer

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Give the list its request: the theme's tag that draws the rows, or says that there are none, has no other."""
        found = super().get_changelist_instance(request)
        found.request = request
        return found

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """Show the form for a new row, or save it; with an `add_title` under that, and with one button."""
        title = self.add_title
        named = {"title": title, "here": title, "show_save_and_continue": False, "show_save_and_add_another": False}
        extra = {**(named if title else {}), **(extra_context or {})}
        answer: HttpResponse = super().add_view(request, form_url, extra)
        return answer

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> Any:
        """Show or save one row; what a room refuses is said on the same page, and nothing is written."""
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except AppError as problem:
            return _refused(request, problem, back=request.get_full_path())

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> Any:
        """Ask, or delete one row; what a room refuses is said on the row's page."""
        try:
            return super().delete_view(request, object_id, extra_context)
        except AppError as problem:
            back = reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_change", args=[quote(object_id)])
            return _refused(request, problem, back=back)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Delete the chosen rows one by one, as one is deleted: a room does it."""
        for row in queryset:
            self.delete_model(request, row)

    def _get_obj_does_not_exist_redirect(self, request: HttpRequest, opts: Any, object_id: str) -> HttpResponse:
        """Say on the list that there is no such row, not on the dashboard."""
        messages.warning(request, f"There is no {opts.verbose_name} “{unquote(object_id)}”. Perhaps it was deleted.")
        return HttpResponseRedirect(reverse(f"admin:{opts.app_label}_{opts.model_name}_changelist"))

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> None:
        """Leave Django's own log empty."""

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> None:
        """Leave Django's own log empty."""

    def log_deletions(self, request: HttpRequest, queryset: Any) -> None:
        """Leave Django's own log empty."""


class ReadOnlyAdmin(ConsoleAdmin):
    """A page to look at."""

    may_add = may_change = may_delete = False


class LongListAdmin(ReadOnlyAdmin):
    """A page over a table that only grows: nothing counts its rows."""

    paginator = InfinitePaginator
    show_full_result_count = False
    show_facets = ShowFacets.NEVER  # “Show counts” would count the rows of each choice


class DrawnAdmin(LongListAdmin):
    """Such a page whose rows have no form: the page of one is drawn by its template, with what `drawn` returns."""

    def drawn(self, row: Any) -> dict[str, Any]:
        """Return what the template of one row's page is given."""
        raise NotImplementedError

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Offer no form."""
        return []

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> Any:
        """Show one row."""
        row = self.get_object(request, object_id) if object_id else None
        extra = self.drawn(row) if row else {}
        return super().changeform_view(request, object_id, form_url, {**extra, **(extra_context or {})})


def _refused(request: HttpRequest, problem: AppError, *, back: str) -> HttpResponse:
    messages.error(request, " ".join([problem.detail, *problem.fields.values()]))
    return HttpResponseRedirect(back)
