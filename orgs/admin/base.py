"""What every page of the console shares: who may open it, and that each write leaves one audit row."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, TypeVar

from django.contrib.auth.models import AnonymousUser
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.timesince import timesince
from unfold.admin import ModelAdmin
from unfold.paginator import InfinitePaginator

from orgs import audit
from orgs.models import User

Row = TypeVar("Row", bound=models.Model)
SECRET_FIELDS = frozenset({"password", "secret_hash"})


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

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Show the list under the name the sidebar has for it."""
        title = capfirst(self.opts.verbose_name_plural)
        answer: HttpResponse = super().changelist_view(request, {"title": title, **(extra_context or {})})
        return answer

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


class AuditedAdmin(ConsoleAdmin):
    """A page that writes its rows itself, each with one audit row: action, before and after, never a secret."""

    audit_name = ""

    def audit_target(self, obj: Any) -> tuple[str, str]:
        """Return the (type, public id) under which the trail knows the row."""
        return self.audit_name, str(obj.pk)

    def audit_organization(self, obj: Any) -> str:
        """Return the organization the row belongs to, "" when it has none."""
        return getattr(obj, "organization_id", "")

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Save the row and leave the audit row."""
        names = _columns(obj, form.changed_data)
        before = _stored(obj, names) if change else None
        super().save_model(request, obj, form, change)
        if not change:
            names = _columns(obj, form.fields)
        after = _plain({name: getattr(obj, name) for name in names})
        self._record("update" if change else "create", request, obj, before=before, after=after)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        """Delete the row and leave the audit row."""
        before = _stored(obj, [field.attname for field in obj._meta.concrete_fields])
        self._record("delete", request, obj, before=before, after=None)
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        """Delete the chosen rows one by one."""
        for obj in queryset:
            self.delete_model(request, obj)

    def _record(self, action: str, request: HttpRequest, obj: Any, **change: Any) -> None:
        audit.record(
            f"{self.audit_name}.{action}",
            acting_user=user(request),
            organization_id=self.audit_organization(obj),
            target=self.audit_target(obj),
            **change,
        )


def _columns(obj: models.Model, names: Collection[str]) -> list[str]:
    fields = {field.name: field.attname for field in obj._meta.concrete_fields}
    return [fields[name] for name in names if name in fields and name not in SECRET_FIELDS]


def _stored(obj: models.Model, names: list[str]) -> dict[str, Any]:
    wanted = [name for name in names if name not in SECRET_FIELDS]
    if not wanted:
        return {}
    row = type(obj)._default_manager.filter(pk=obj.pk).values(*wanted).first()
    return _plain(row or {})


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    simple = (str, int, float, bool, list, dict, type(None))
    return {name: value if isinstance(value, simple) else str(value) for name, value in values.items()}
