"""API keys: made here, shown once, rotated and revoked here."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin import display, helpers
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.cache import never_cache
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesCheckboxFilter

from moolai.errors import AppError
from orgs import keys
from orgs.admin import key_states
from orgs.admin.base import ConsoleAdmin, ago, user
from orgs.admin.key_forms import GRACES, KeyForm, RotateForm
from orgs.models import ApiKey

SHOWN_KEYS = 50
GONE = "what they opened is closed within 5 seconds."


@admin.register(ApiKey)
class ApiKeyAdmin(ConsoleAdmin):
    """Keys of orchestrators and tools; only a hash of the secret is stored."""

    may_delete = False
    list_display = ["name", "state", "prefix_", "organization", "may", "bound", "ends", "made"]
    list_filter = [
        key_states.StateFilter, ("organization", AutocompleteSelectFilter), ("role", ChoicesCheckboxFilter),
    ]  # fmt: skip
    list_select_related = ["organization"]
    search_fields = ["name", "prefix", "key_id", "orchestrator_id", "organization__organization_id"]
    search_help_text = "Search by name, id, beginning of the secret, orchestrator or organization"
    autocomplete_fields = ["organization"]
    actions = ["revoke_chosen"]
    readonly = ["name", "key_id", "prefix_", "organization", "may", "bound", "ends", "made", "created_by"]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Let keys be made, rotated and revoked, never changed; the list offers its action."""
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
            key_id=form.cleaned_data["new_id"],
        )
        obj.__dict__.update(row.__dict__)
        obj.secret_once = secret

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: Any = None) -> HttpResponse:
        """Show the secret, this one time."""
        return self._show_once(request, obj, obj.secret_once, title="Key created", note="")

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """Make one key per form: a form that is sent again shows the page of the key it has made."""
        if made := self._made_by(request):
            return made
        try:
            answer: HttpResponse = super().add_view(request, form_url, extra_context)
        except IntegrityError:  # the same form, twice at the same moment
            if made := self._made_by(request):
                return made
            raise
        return answer

    def _made_by(self, request: HttpRequest) -> HttpResponse | None:
        new_id = request.POST.get("new_id")
        row = ApiKey.objects.filter(key_id=new_id).first() if new_id and self.has_add_permission(request) else None
        if row is None:
            return None
        messages.info(request, "This key is made already; its secret was shown once.")
        return self._page_of(row.pk)

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> Any:
        """Show the page of one key with what can be done with it."""
        row = self.get_object(request, object_id) if object_id else None
        extra = dict(extra_context or {})
        if row is not None:
            now = timezone.now()
            extra |= {
                "badge": key_states.show(row, now=now),
                "is_usable": row.is_usable(now=now),
                "rotate_form": RotateForm(initial={"seen": _end(row)}),
            }
        return super().changeform_view(request, object_id, form_url, extra)

    # --- doors of its own -------------------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        """Add the doors that rotate and revoke."""
        wrap = self.admin_site.admin_view
        own = [
            path("<int:pk>/rotate/", wrap(never_cache(self.rotate_view)), name="orgs_apikey_rotate"),
            path("<int:pk>/revoke/", wrap(self.revoke_view), name="orgs_apikey_revoke"),
        ]
        return [*own, *super().get_urls()]

    def rotate_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Make a successor (POST) and show its secret, this one time."""
        if request.method != "POST" or not self.has_add_permission(request):
            return HttpResponse(status=405 if request.method != "POST" else 403)
        form = RotateForm(request.POST)
        if not form.is_valid():
            messages.error(request, "Choose when the old key ends.")
            return self._page_of(pk)
        grace = form.cleaned_data["grace_seconds"]
        try:
            successor, secret = self._rotate(request, pk, seen=form.cleaned_data["seen"], grace_seconds=grace)
        except AppError as problem:
            messages.error(request, problem.detail)
            return self._page_of(pk)
        note = "The old key has ended." if not grace else f"The old key still works: it ends {GRACES[grace].lower()}."
        return self._show_once(request, successor, secret, title="Key rotated", note=note)

    @transaction.atomic
    def _rotate(self, request: HttpRequest, pk: int, *, seen: str, grace_seconds: int) -> tuple[ApiKey, str]:
        row = ApiKey.objects.select_for_update().filter(pk=pk).first()
        if row is None or seen != _end(row):
            raise AppError("conflict", "The key has changed since you opened its page: look at it again.")
        return keys.rotate(row, acting_user=user(request), grace_seconds=grace_seconds)

    def revoke_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Ask (GET), then revoke one key (POST)."""
        row = self.get_object(request, str(pk))
        if row is None or not self.has_add_permission(request):
            return HttpResponse(status=404 if row is None else 403)
        if request.method != "POST":
            return self._ask(request, [row], total=1, back=self._page_of(pk)["Location"])
        keys.revoke(row, acting_user=user(request))
        messages.success(request, f"{row.name} is revoked: {GONE.replace('they', 'it')}")
        return self._page_of(pk)

    @admin.action(description="Revoke the chosen keys", permissions=["add"])
    def revoke_chosen(self, request: HttpRequest, chosen: QuerySet[ApiKey]) -> HttpResponse | None:
        """Ask, then revoke the chosen keys."""
        standing = chosen.filter(revoked_at__isnull=True)
        if "post" not in request.POST:
            shown = list(standing[:SHOWN_KEYS])
            return self._ask(request, shown, total=standing.count(), back=request.get_full_path())
        rows = list(standing)
        for row in rows:
            keys.revoke(row, acting_user=user(request))
        messages.success(request, f"{len(rows)} revoked: {GONE}")
        return None

    def _ask(self, request: HttpRequest, rows: list[ApiKey], *, total: int, back: str) -> HttpResponse:
        context = self.admin_site.each_context(request) | {
            "title": "Revoke",
            "opts": self.opts,
            "rows": rows,
            "total": total,
            "back": back,
            "selected": request.POST.getlist(helpers.ACTION_CHECKBOX_NAME),
            "select_across": request.POST.get("select_across", "0"),
        }
        return TemplateResponse(request, "admin/orgs/apikey/revoke.html", context)

    def _show_once(self, request: HttpRequest, row: ApiKey, secret: str, *, title: str, note: str) -> HttpResponse:
        context = self.admin_site.each_context(request) | {
            "title": title,
            "opts": self.opts,
            "key": row,
            "secret": secret,
            "note": note,
            "orchestrator_id": row.orchestrator_id or f"{row.organization_id}-1",
            "origin": request.get_host(),
            "scheme": "wss" if request.is_secure() else "ws",
            "http": request.scheme,
        }
        return TemplateResponse(request, "admin/orgs/apikey/secret.html", context)

    def _page_of(self, pk: int) -> HttpResponseRedirect:
        return HttpResponseRedirect(reverse("admin:orgs_apikey_change", args=[pk]))

    # --- columns ----------------------------------------------------------------------------------------------------

    @display(description="Secret")
    def prefix_(self, row: ApiKey) -> SafeString:
        """Show how the secret begins."""
        return format_html("<code>{}…</code>", row.prefix)

    @display(description="May")
    def may(self, row: ApiKey) -> str:
        """Show the role or the scopes."""
        return row.role or ", ".join(row.scopes)

    @display(description="Bound to", ordering="orchestrator_id")
    def bound(self, row: ApiKey) -> SafeString:
        """Show the one orchestrator it may be; a role's key is never one."""
        words = row.orchestrator_id or ("any of its organization" if row.scopes else "–")
        return format_html('<span class="mo-whole">{}</span>', words)

    @display(description="Ends", ordering="expires_at")
    def ends(self, row: ApiKey) -> SafeString:
        """Show when it ends or ended."""
        return key_states.end(row, now=timezone.now())

    @display(description="Created", ordering="created_at")
    def made(self, row: ApiKey) -> SafeString:
        """Show when it was made."""
        return ago(row.created_at)

    @display(description="State")
    def state(self, row: ApiKey) -> SafeString:
        """Show whether it works."""
        return key_states.show(row, now=timezone.now())


def _end(row: ApiKey) -> str:
    return row.expires_at.isoformat() if row.expires_at else ""
