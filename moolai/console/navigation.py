"""Brand and navigation of the console."""

from typing import Any, Final

from django.conf import settings
from django.db import DatabaseError, InterfaceError
from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse

from monitoring.alerts import counts
from orchestrators.admin import task_pieces

Item = dict[str, Any]
MOST_ALERTS: Final = 1000  # the badge counts no further


def environment_badge(request: HttpRequest) -> list[str]:
    """Return the badge that names the environment."""
    return ["Production", "danger"] if settings.IS_PRODUCTION else ["Development", "info"]


def mark(request: HttpRequest) -> str:
    """Return the address of the brand mark."""
    return static("moolai/mark.svg")


def styles(request: HttpRequest) -> str:
    """Return the address of the console's own styles."""
    return static("moolai/console.css")


def work_styles(request: HttpRequest) -> str:
    """Return the address of the styles of the task queue's pages."""
    return static("moolai/work.css")


def gateway_styles(request: HttpRequest) -> str:
    """Return the address of the styles of the gateway's pages."""
    return static("moolai/gateway.css")


def live(request: HttpRequest) -> str:
    """Return the address of the script that keeps pages live."""
    return static("moolai/live.js")


def _list(title: str, icon: str, model: str) -> Item:
    return {"title": title, "icon": icon, "link": reverse(f"admin:{model}_changelist")}


def _open_alerts(request: HttpRequest) -> Item:
    """Count the open alerts for those who see them; a page that says that the database is away has no badge."""
    if not getattr(getattr(request, "user", None), "is_superuser", False):
        return {}
    try:
        number = counts.visible(most=MOST_ALERTS)
    except (DatabaseError, InterfaceError):
        return {}
    words = f"{MOST_ALERTS - 1}+" if number == MOST_ALERTS else str(number)
    return {"badge": words, "badge_variant": "danger"} if number else {}


def _waiting(request: HttpRequest) -> Item:
    """Count the approvals that wait, likewise."""
    if not getattr(getattr(request, "user", None), "is_superuser", False):
        return {}
    try:
        words = task_pieces.badge_words()
    except (DatabaseError, InterfaceError):
        return {}
    return {"badge": words, "badge_variant": "warning"} if words else {}


def _work(request: HttpRequest) -> Item:
    """Return the group of the task queue."""
    board, tasks = reverse("admin:orchestrators_task_board"), _list("Tasks", "task", "orchestrators_task")
    is_board = request.path == board
    return {
        "title": "Work",
        "separator": True,
        "items": [
            {"title": "Task board", "icon": "view_kanban", "link": board, "active": is_board},
            {**_list("Approvals", "approval", "orchestrators_approval"), **_waiting(request)},
            {**tasks, "active": request.path.startswith(tasks["link"]) and not is_board},
            _list("Agents", "smart_toy", "orchestrators_agent"),
            _list("Routes", "fork_right", "orchestrators_route"),
        ],
    }


def _gateway(request: HttpRequest) -> Item:
    """Return the group of the LLM gateway."""
    playground = reverse("admin:llm_gateway_call_playground")
    models, prices = reverse("admin:llm_gateway_price_models"), reverse("admin:llm_gateway_price_changelist")
    log = _list("Calls", "receipt_long", "llm_gateway_call")
    return {
        "title": "Gateway",
        "separator": True,
        "items": [
            {**log, "active": request.path.startswith(log["link"]) and request.path != playground},
            _list("Refused calls", "block", "llm_gateway_refusal"),
            _list("Prompts", "chat", "llm_gateway_prompt"),
            _list("Providers", "cloud", "llm_gateway_provider"),
            {"title": "Models", "icon": "deployed_code", "link": models, "active": request.path.startswith(prices)},
            _list("Aliases", "alt_route", "llm_gateway_alias"),
            _list("Cache rules", "cached", "llm_gateway_cacherule"),
            _list("Guardrails", "shield", "llm_gateway_guardrails"),
            _list("Workflows", "account_tree", "llm_gateway_workflowrun"),
            _list("Templates", "schema", "llm_gateway_workflowtemplate"),
            _list("Costs", "payments", "llm_gateway_spending"),
            _list("Budgets", "account_balance_wallet", "orgs_spendinglimit"),
            _list("Privacy", "visibility_off", "llm_gateway_gatewaypolicy"),
            {"title": "Playground", "icon": "forum", "link": playground, "active": request.path == playground},
        ],
    }


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the sidebar's groups."""
    home, system = reverse("admin:index"), reverse("console_system")
    return [
        {
            "title": "Fleet",
            "items": [
                {"title": "Dashboard", "icon": "space_dashboard", "link": home, "active": request.path == home},
                _list("Orchestrators", "hub", "orchestrators_instance"),
                {**_list("Alerts", "notifications", "monitoring_alert"), **_open_alerts(request)},
                _list("Messages", "mail", "orchestrators_message"),
                _list("Recommendations", "lightbulb", "orchestrators_recommendation"),
                _list("Configuration", "tune", "orchestrators_configversion"),
                _list("Overrides", "layers", "orchestrators_overrideversion"),
                _list("Rollouts", "rocket_launch", "orchestrators_rollout"),
                _list("Jobs", "checklist", "orchestrators_job"),
                _list("Events", "bolt", "orgs_event"),
                _list("Metrics", "monitoring", "monitoring_systemmetric"),
            ],
        },
        _work(request),
        _gateway(request),
        {
            "title": "Alerting",
            "separator": True,
            "items": [
                _list("Rules", "rule", "monitoring_rule"),
                _list("Event rules", "rule_settings", "orchestrators_eventrule"),
                _list("Silences", "notifications_paused", "monitoring_silence"),
                _list("Channels", "campaign", "monitoring_channel"),
            ],
        },
        {
            "title": "Organizations",
            "separator": True,
            "items": [
                _list("Organizations", "domain", "orgs_organization"),
                _list("API keys", "key", "orgs_apikey"),
                _list("Users", "person", "orgs_user"),
                _list("Memberships", "badge", "orgs_membership"),
                _list("Allowed networks", "lan", "orgs_allowednetwork"),
            ],
        },
        {
            "title": "Controller",
            "separator": True,
            "items": [
                {"title": "System", "icon": "monitor_heart", "link": system, "active": request.path == system},
                _list("Audit trail", "history", "orgs_auditentry"),
                _list("Processes", "memory", "orchestrators_node"),
                _list("Periodic tasks", "schedule", "django_celery_beat_periodictask"),
                {"title": "API", "icon": "api", "link": "/api/docs/"},
            ],
        },
    ]
