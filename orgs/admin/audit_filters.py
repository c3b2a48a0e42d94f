"""Filters of the audit trail, a table that only grows: none of them reads it to know what may be chosen."""

from collections.abc import Iterator
from datetime import UTC, datetime, time
from typing import Any

from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.dateparse import parse_date, parse_time
from unfold.contrib.filters.admin import DropdownFilter, RangeDateTimeFilter, TextFilter
from unfold.contrib.filters.forms import AutocompleteDropdownForm

from orgs import trail
from orgs.models import AuditEntry, Membership

SYSTEM = "-"  # chosen by a link: the rows of no organization


class OrganizationFilter(TextFilter):  # type: ignore[misc]
    """Narrows to one organization, found as it is typed; the trail holds ids, also of organizations that are gone."""

    title = "organization"
    parameter_name = "organization"
    form_class = AutocompleteDropdownForm

    def __init__(self, request: HttpRequest, params: Any, model: Any, model_admin: Any) -> None:
        super().__init__(request, params, model, model_admin)
        self.request, self.model_admin = request, model_admin

    def choices(self, changelist: ChangeList) -> Iterator[dict[str, Any]]:
        """Offer the search of organizations."""
        form = AutocompleteDropdownForm(
            request=self.request,
            name=self.parameter_name,
            label="By organization",
            choices=(),
            field=Membership._meta.get_field("organization"),
            model_admin=self.model_admin,
            data={self.parameter_name: self.value()},
        )
        yield {"form": form}

    def queryset(self, request: HttpRequest, queryset: QuerySet[AuditEntry]) -> QuerySet[AuditEntry]:
        """Apply the chosen one."""
        chosen = self.value()
        return queryset.filter(organization_id="" if chosen == SYSTEM else chosen) if chosen else queryset


class ActorFilter(TextFilter):  # type: ignore[misc]
    """Narrows to one actor, named in full: there is no list of actors to choose from."""

    title = "actor, in full"
    parameter_name = "actor"

    def queryset(self, request: HttpRequest, queryset: QuerySet[AuditEntry]) -> QuerySet[AuditEntry]:
        """Apply the name."""
        return queryset.filter(actor=self.value().strip()) if (self.value() or "").strip() else queryset


class ActionFilter(DropdownFilter):  # type: ignore[misc]
    """Narrows to one action."""

    title = "action"
    parameter_name = "action"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the actions."""
        return [(word, word) for word in trail.actions()]

    def has_output(self) -> bool:
        """Stand there also while the trail is empty."""
        return True

    def queryset(self, request: HttpRequest, queryset: QuerySet[AuditEntry]) -> QuerySet[AuditEntry]:
        """Apply the chosen one."""
        return queryset.filter(action=self.value()) if self.value() else queryset


class TargetFilter(DropdownFilter):  # type: ignore[misc]
    """Narrows to one type of target."""

    title = "target"
    parameter_name = "target"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the types."""
        return [(word, word.replace("_", " ")) for word in trail.target_types()]

    def has_output(self) -> bool:
        """Stand there also while the trail is empty."""
        return True

    def queryset(self, request: HttpRequest, queryset: QuerySet[AuditEntry]) -> QuerySet[AuditEntry]:
        """Apply the chosen one."""
        return queryset.filter(target_type=self.value()) if self.value() else queryset


class TimeFilter(RangeDateTimeFilter):  # type: ignore[misc]
    """Narrows to a range of time in UTC, both ends included; a date without a time means the whole day."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Apply the range; what is no date is refused, never left out."""
        ends = (("from", "gte", time.min), ("to", "lte", time.max))
        limits = {f"{self.parameter_name}__{lookup}": self._moment(end, whole) for end, lookup, whole in ends}
        return queryset.filter(**{name: moment for name, moment in limits.items() if moment is not None})

    def _moment(self, end: str, whole_day: time) -> datetime | None:
        day, clock = (self.used_parameters.get(f"{self.parameter_name}_{end}_{part}") or "" for part in (0, 1))
        if not day:
            return None
        try:
            date, at = parse_date(day), parse_time(clock) if clock else whole_day
        except ValueError:
            date = at = None
        if date is None or at is None:
            raise IncorrectLookupParameters("This is no time.")
        return datetime.combine(date, at.replace(tzinfo=None), UTC)
