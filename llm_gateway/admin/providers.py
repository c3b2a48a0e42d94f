"""Providers in the console: made, changed, tried and deleted here; those of the environment are shown beside them."""

from collections.abc import Collection
from typing import Any, Final

from django.contrib import admin, messages
from django.contrib.admin import display
from django.contrib.admin.utils import quote
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.debug import sensitive_post_parameters
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesCheckboxFilter
from unfold.views import ChangeList

from llm_gateway import hosts, providers, trials
from llm_gateway.admin import environment, health
from llm_gateway.admin.environment import Found
from llm_gateway.admin.health import Health
from llm_gateway.admin.provider_forms import ProviderForm
from llm_gateway.models import Provider
from llm_gateway.plane import catalog
from moolai.errors import AppError
from orgs.admin.base import ConsoleAdmin, ago, badge, user

SHOWN_MODELS: Final = 2
SHOWN_ADDRESS: Final = 34


class ProviderList(ChangeList):  # type: ignore[misc]
    """The list; each row knows how it has been: one query for all of them."""

    def get_results(self, request: HttpRequest) -> None:
        """Read the rows, and how they have been."""
        super().get_results(request)
        self.result_list: Any = list(self.result_list)
        sources = catalog.environment()
        found = give_health(self.result_list, {source.name for source in sources})
        self.named_by_environment = [environment.line(source, found) for source in sources]


def give_health(rows: Collection[Any], more: Collection[str] = ()) -> Found:
    """Give each provider its `health`: two queries. One of everybody's answers those that have none of its name.

    Return what was found, of the providers of the names `more` too.
    """
    recent = health.recent(now=timezone.now())
    shared = {row.name for row in rows if not row.organization_id}
    named = Provider.objects.filter(name__in=shared | set(more), is_enabled=True)
    found = Found(recent, set(named.values_list("organization", "name")))
    for row in rows:
        row.health = found.of_row(row)
    return found


@admin.register(Provider)
class ProviderAdmin(ConsoleAdmin):
    """Who answers calls to models."""

    form = ProviderForm
    list_display = ["name_", "dialect_", "organization_", "state", "key", "hour", "models_", "trial"]
    list_display_links = ["name_"]
    list_filter = [
        ("organization", AutocompleteSelectFilter), ("dialect", ChoicesCheckboxFilter), "is_enabled", "is_local",
    ]  # fmt: skip
    list_before_template = "admin/llm_gateway/provider/environment.html"
    search_fields = ["name", "provider_id", "base_url", "organization__organization_id"]
    search_help_text = "Search by name, id, address or organization"
    ordering = ["organization", "-priority", "name"]
    autocomplete_fields = ["organization"]
    change_form_template = "admin/llm_gateway/provider/change_form.html"

    # --- the form ---------------------------------------------------------------------------------------------------

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Ask whose it is, where it is, and what it has."""
        key = ["api_key", "forget_key"] if obj else ["api_key"]
        return [
            (None, {"fields": ["organization", "name", "dialect", "is_enabled"]}),
            ("Address and key", {"fields": ["base_url", *key, "auth"]}),
            ("Models", {"fields": ["known_models", "priority", "is_local"]}),
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Keep a provider in its organization: its key is sealed for it."""
        return ["organization"] if obj else []

    def save_model(self, request: HttpRequest, obj: Provider, form: Any, change: bool) -> None:
        """Make or change the provider by its room's functions."""
        who, wish = user(request), form.wish()
        if change:
            known = Provider.objects.get(pk=obj.pk)
            row = providers.update(known, acting_user=who, is_superadmin=True, **wish)
        else:
            row = providers.create(form.cleaned_data["organization"], acting_user=who, is_superadmin=True, **wish)
        obj.__dict__.update(row.__dict__)

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: Any = None) -> HttpResponse:
        """Go to the provider's page, where it is tried."""
        messages.success(request, f"The provider {obj.name} is made. Try it now.")
        return self._page_of(obj.pk)

    def delete_model(self, request: HttpRequest, obj: Provider) -> None:
        """Delete the provider by its room's function."""
        providers.delete(obj, acting_user=user(request))

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Name what goes: the rows of calls stay."""
        rows = [str(obj) for obj in objs]
        return rows, {"providers": len(rows)}, set(), []

    # --- pages ------------------------------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        """Add the doors of the test buttons."""
        wrap = self.admin_site.admin_view
        own = [
            path("<int:pk>/test/", wrap(self.test_view), name="llm_gateway_provider_test"),
            path("environment/<str:name>/test/", wrap(self.try_environment), name="llm_gateway_provider_environment"),
        ]
        return [*own, *super().get_urls()]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        """Use the list whose rows know how they have been."""
        return ProviderList

    def get_queryset(self, request: HttpRequest) -> QuerySet[Provider]:
        """Read the organization along."""
        found: QuerySet[Provider] = super().get_queryset(request).select_related("organization")
        return found

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> Any:
        """Show one provider with how it has been; what is entered is in no error report."""
        row = self.get_object(request, object_id) if object_id else None
        extra = dict(extra_context or {})
        if row is not None:
            give_health([row])
            found = row.health
            failing = health.breakers(row.provider_id)
            extra |= {
                "badge": health.show(found, failing=failing), "facts": _facts(row, found, failing),
                "first_model": next(iter(row.known_models), ""),
            }  # fmt: skip
        return sensitive_post_parameters()(super().changeform_view)(request, object_id, form_url, extra)

    def test_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Ask the provider for one token (POST), and say what became of it."""
        if (refused := self._refused(request)) is not None:
            return refused
        row = Provider.objects.filter(pk=pk).first()
        if row is None:
            raise Http404("There is no such provider.")
        try:
            trial = trials.try_out(row, model=_asked(request))
        except AppError as problem:
            messages.error(request, f"{row.name}: {' '.join(problem.fields.values()) or problem.detail}")
            return self._page_of(pk)
        providers.record_test(row, acting_user=user(request), is_working=trial.is_working, error=trial.error)
        _tell(request, row.name, trial)
        back = reverse("admin:llm_gateway_provider_changelist")
        return HttpResponseRedirect(back) if request.POST.get("back") == "list" else self._page_of(pk)

    def try_environment(self, request: HttpRequest, name: str) -> HttpResponse:
        """Ask a provider of the environment for one token (POST): it is everybody's, so for superadmins alone."""
        if (refused := self._refused(request)) is not None:
            return refused
        source = next((one for one in catalog.environment() if one.name == name), None)
        if source is None:
            raise Http404("The environment names no such provider.")
        try:
            trial = trials.try_environment(source, model=_asked(request))
        except AppError as problem:
            messages.error(request, f"{name}: {' '.join(problem.fields.values()) or problem.detail}")
        else:
            providers.record_environment_test(
                source.key, acting_user=user(request), is_working=trial.is_working, error=trial.error
            )
            _tell(request, name, trial)
        return HttpResponseRedirect(reverse("admin:llm_gateway_provider_changelist"))

    def _refused(self, request: HttpRequest) -> HttpResponse | None:
        """Return what a test is refused with: who may not change providers may not ask them either."""
        if request.method != "POST":
            return HttpResponse(status=405)
        return None if self.has_change_permission(request) else HttpResponse(status=403)

    def _page_of(self, pk: int) -> HttpResponseRedirect:
        return HttpResponseRedirect(reverse("admin:llm_gateway_provider_change", args=[pk]))

    # --- columns ----------------------------------------------------------------------------------------------------

    @display(description="Provider", ordering="name")
    def name_(self, row: Provider) -> SafeString:
        """Show the name, and the address below it."""
        address = hosts.of(row.dialect, row.base_url) or "in the process itself"
        return format_html('<span class="mo-name"><b>{}</b><small>{}</small></span>', row.name, _short(address))

    @display(description="Speaks", ordering="dialect")
    def dialect_(self, row: Provider) -> SafeString:
        """Show the dialect."""
        return environment.dialect(row.dialect)

    @display(description="Organization", ordering="organization")
    def organization_(self, row: Provider) -> SafeString:
        """Show whose it is, with the way there."""
        if row.organization is None:
            return SafeString('<span class="mo-whole">all organizations</span>')
        url = reverse("admin:orgs_organization_change", args=[quote(row.organization.pk)])
        return format_html('<a class="mo-link" href="{}">{}</a>', url, row.organization.name)

    @display(description="State", ordering="is_enabled")
    def state(self, row: Provider) -> SafeString:
        """Show whether it is asked, whether before others, and whether it costs anything."""
        found = badge("green", "●", "Enabled") if row.is_enabled else badge("gray", "○", "Off")
        notes = [f"priority {row.priority}"] if row.priority else []
        notes += ["local: free"] if row.is_local else []
        return format_html('<span class="mo-name">{}<small>{}</small></span>', found, " · ".join(notes))

    @display(description="Key")
    def key(self, row: Provider) -> SafeString:
        """Show the end of the key."""
        return environment.key(providers.shown(row)["api_key"])

    @display(description="Last hour")
    def hour(self, row: Any) -> SafeString:
        """Show how it has been."""
        return health.show(row.health, failing=health.breakers(row.provider_id))

    @display(description="Models")
    def models_(self, row: Provider) -> SafeString:
        """Show the first models."""
        names, more = row.known_models[:SHOWN_MODELS], len(row.known_models) - SHOWN_MODELS
        text = ", ".join(names) or "any"
        return format_html('<span class="gw-models">{}{}</span>', text, f" and {more} more" if more > 0 else "")

    @display(description="Try")
    def trial(self, row: Provider) -> SafeString:
        """Show the button of the test call; its form stands above the list."""
        url = reverse("admin:llm_gateway_provider_test", args=[row.pk])
        return format_html(
            '<button class="gw-small-button" form="provider-test" formaction="{}" name="back" value="list" '
            'aria-label="Test {}">Test</button>', url, row.name,
        )  # fmt: skip


def _asked(request: HttpRequest) -> str:
    return request.POST.get("model", "").strip()[:200]


def _tell(request: HttpRequest, name: str, trial: trials.Trial) -> None:
    if trial.is_working:
        messages.success(request, f"{name} works: {trial.model} {_told(trial)} in {trial.duration_ms} ms.")
    else:
        messages.error(request, f"{name} did not answer ({trial.model}, {trial.duration_ms} ms): {trial.error}")


def _told(trial: trials.Trial) -> str:
    return f"said “{trial.answer}”" if trial.answer.strip() else "answered"


def _short(address: str) -> str:
    text = address.removeprefix("https://")
    return text if len(text) <= SHOWN_ADDRESS else text[: SHOWN_ADDRESS - 1] + "…"


def _facts(row: Provider, found: Health, failing: dict[str, str]) -> list[tuple[str, Any]]:
    states = ", ".join(f"{model}: {word.replace('_', ' ')}" for model, word in sorted(failing.items()))
    logged = reverse("admin:llm_gateway_call_changelist")
    return [
        ("Of", row.organization.name if row.organization else "all organizations"),
        ("Speaks", environment.dialect(row.dialect)),
        ("Address", hosts.of(row.dialect, row.base_url) or "in the process itself"),
        ("Key", environment.key(providers.shown(row)["api_key"])),
        *((f"{name}, last hour", value) for name, value in health.facts(found)),
        ("Breakers of this process", f"{states or 'all closed'}; other web processes have their own"),
        ("Its calls", format_html('<a class="mo-link" href="{}?provider={}">in the log</a>', logged, row.name)),
        ("Changed", ago(row.updated_at)),
        ("Id", format_html("<code>{}</code>", row.provider_id)),
    ]
