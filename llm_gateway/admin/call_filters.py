"""Filters of the call log, a table that only grows: none of them reads it to know what may be chosen."""

from django.db.models import Q, QuerySet
from django.http import HttpRequest
from unfold.contrib.filters.admin import TextFilter

from llm_gateway.models import Call
from orgs.models import ApiKey


class _NameFilter(TextFilter):  # type: ignore[misc]
    """Narrows to calls that name something in full."""

    def asked(self, name: str) -> Q:
        """Return what a call must have."""
        raise NotImplementedError

    def queryset(self, request: HttpRequest, queryset: QuerySet[Call]) -> QuerySet[Call]:
        """Apply the name."""
        name = (self.value() or "").strip()
        return queryset.filter(self.asked(name)) if name else queryset


class ProviderFilter(_NameFilter):
    """Narrows to one provider."""

    title, parameter_name = "provider, in full", "provider"

    def asked(self, name: str) -> Q:
        """Return the provider that answered."""
        return Q(provider=name)


class ModelFilter(_NameFilter):
    """Narrows to one model, as it was asked for or as it answered."""

    title, parameter_name = "model or alias, in full", "model"

    def asked(self, name: str) -> Q:
        """Return both its names; `provider/model` is what limits know it by."""
        return Q(model=name) | Q(requested_model=name) | Q(scope_model=name)


class KeyFilter(_NameFilter):
    """Narrows to one API key, by its id or its name."""

    title, parameter_name = "API key, id or name", "key"

    def asked(self, name: str) -> Q:
        """Return the key's id; a name may be several keys'."""
        if name.startswith("key_"):
            return Q(key_id=name)
        return Q(key_id__in=ApiKey.objects.filter(name=name).values("key_id"))


class UserFilter(_NameFilter):
    """Narrows to one person."""

    title, parameter_name = "user name, in full", "user"

    def asked(self, name: str) -> Q:
        """Return who was signed in."""
        return Q(user=name)
