"""The console's writes: for each page what a superadmin may do there, and how it is done once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Final

from django.contrib import admin
from django.contrib.admin import ModelAdmin
from django.http import HttpRequest
from django.test import Client
from django.urls import reverse

from llm_gateway.models import Alias, GatewayPolicy, Price, Provider, WorkflowRun, WorkflowTemplate
from monitoring.models import Alert, Channel, Silence
from orchestrators.models import (
    Agent,
    Approval,
    ConfigVersion,
    EventRule,
    Instance,
    Job,
    OverrideVersion,
    Rollout,
    Route,
    Task,
)
from orgs.models import AllowedNetwork, ApiKey, Membership, Organization, SpendingLimit, User
from tests.matrix.place import NOWHERE, PASSWORD, Place

STOCK: Final = ("changelist", "add", "history", "delete", "change")
READS: Final = {  # pages that only show
    "orgs_event_recent", "orgs_auditentry_export", "orgs_auditentry_verify", "orchestrators_instance_panel",
    "monitoring_systemmetric_series", "console_fleet_table", "orchestrators_job_running", "orchestrators_job_progress",
    "orchestrators_rollout_progress", "orchestrators_rollout_running", "orchestrators_message_panel",
    "orchestrators_task_board", "orchestrators_task_columns", "orchestrators_task_panel", "orchestrators_agent_load",
    "orchestrators_approval_badge", "llm_gateway_workflowrun_panel",
    "monitoring_alert_panel", "console_open_alerts", "monitoring_systemmetric_latest", "console_gateway_card",
    "llm_gateway_price_models", "llm_gateway_call_newest", "llm_gateway_refusal_newest",
    "llm_gateway_call_playground", "llm_gateway_call_outcome",
    "llm_gateway_guardrails_try",  # says what rules would do, and writes nothing
    "llm_gateway_prompt_ask",
    "llm_gateway_call_token",  # a sign-in, as `POST …/auth/login` makes one
}  # fmt: skip
NEW_PASSWORD: Final = "another long secret 17"
Deed = Callable[[Client, Place], Any]


def offered(request: HttpRequest) -> Iterator[str]:
    """Yield every write the console offers, as `label what`."""
    for model, page in admin.site._registry.items():
        may = {
            "add": page.has_add_permission(request),
            "change": page.has_change_permission(request, model()),
            "delete": page.has_delete_permission(request, model()),
        }
        yield from (f"{model._meta.label} {what}" for what in may if may[what])
        yield from (f"{model._meta.label} {name}" for name in page.get_actions(request))
        yield from (f"{model._meta.label} {name}" for name in _own_doors(page) if name not in READS)


def _own_doors(page: ModelAdmin[Any]) -> list[str]:
    names = [pattern.name or "" for pattern in page.get_urls()]
    prefix = f"{page.opts.app_label}_{page.opts.model_name}_"
    return [name for name in names if name and name.removeprefix(prefix) not in STOCK]


def _form(client: Client, url: str, **changes: Any) -> Any:
    """Open a page, change some of what stands in its form, and send it."""
    form = client.get(url).context["adminform"].form
    shown = {name: form[name].value() for name in form.fields}
    data = {name: value for name, value in (shown | changes).items() if value not in (None, False)}
    return client.post(url, {name: "on" if value is True else value for name, value in data.items()})


def _add(page: str, **changes: Any) -> Deed:
    return lambda client, place: _form(client, reverse(f"admin:{page}_add"), **place.fill(changes))


def _change(page: str, pk: Callable[[Place], Any], **changes: Any) -> Deed:
    return lambda client, place: _form(client, reverse(f"admin:{page}_change", args=[pk(place)]), **changes)


def _post(page: str, pk: Callable[[Place], Any], data: Any) -> Deed:
    def do(client: Client, place: Place) -> Any:
        url = reverse(f"admin:{page}", args=[pk(place)])
        if isinstance(data, str):
            return client.post(url, data, content_type="application/json")
        return client.post(url, data)

    return do


def _action(page: str, name: str, pk: Callable[[Place], Any], **more: str) -> Deed:
    def do(client: Client, place: Place) -> Any:
        data = {"action": name, "_selected_action": [pk(place)], "post": "yes", **more}
        return client.post(reverse(f"admin:{page}_changelist"), data)

    return do


def _key(place: Place) -> int:
    return ApiKey.objects.get(key_id=place.key).pk


def _idle(place: Place) -> int:
    return Instance.objects.get(orchestrator_id=place.idle).pk


def _user(place: Place) -> int:
    return User.objects.get(pk=int(place.user)).pk


def _membership(place: Place) -> int:
    return Membership.objects.get(user=int(place.user)).pk


def _organization(place: Place) -> str:
    return place.organization


def _newcomer() -> str:
    """Make an organization that has set nothing yet, without a trace; return its id."""
    return Organization.objects.get_or_create(organization_id="newcomer", defaults={"name": "Newcomer"})[0].pk


def _version(place: Place) -> int:
    return ConfigVersion.objects.filter(organization_id=place.organization).latest("version").pk


def _override(place: Place) -> int:
    return OverrideVersion.objects.get(orchestrator__orchestrator_id=place.orchestrator, version=1).pk


def _channel(place: Place) -> int:
    return Channel.objects.get(channel_id=place.channel).pk


def _event_rule(place: Place) -> int:
    return EventRule.objects.get(organization=place.organization).pk


def _provider(place: Place) -> int:
    return Provider.objects.get(provider_id=place.provider).pk


def _policy(place: Place) -> str:
    organization_id: str = GatewayPolicy.objects.create(organization_id=place.organization, keeps_content=True).pk
    return organization_id


def _alias(place: Place) -> int:
    return Alias.objects.get(alias_id=place.alias).pk


def _price(place: Place) -> int:
    return Price.objects.get(price_id=place.price).pk


def _limit(place: Place) -> int:
    return SpendingLimit.objects.get(key__key_id=place.key).pk


def _network(place: Place) -> int:
    return AllowedNetwork.objects.get(organization=place.organization).pk


def _run(place: Place) -> int:
    return WorkflowRun.objects.get(organization=place.organization, workflow_id=place.workflow).pk


def _template(place: Place) -> int:
    return WorkflowTemplate.objects.get(organization=place.organization).pk


def _steer(client: Client, place: Place) -> Any:
    Rollout.objects.filter(pk=place.rollout).update(status="running", finished_at=None)
    return _post("orchestrators_rollout_steer", lambda place: int(place.rollout), {"verdict": "pause"})(client, place)


def _task(place: Place) -> int:
    return Task.objects.get(task_id=place.task).pk


def _approval(place: Place) -> int:
    return Approval.objects.get(approval_id=place.approval).pk


def _agent(place: Place) -> int:
    return Agent.objects.get(organization=place.organization, agent_id=place.agent).pk


def _route(place: Place) -> int:
    return Route.objects.get(organization=place.organization).pk


def _again(client: Client, place: Place) -> Any:
    Task.objects.filter(task_id=place.task).update(status="dead")
    return _post("orchestrators_task_again", _task, {})(client, place)


def _join(client: Client, place: Place) -> Any:
    pk = str(User.objects.get(username="root").pk)
    return _add("orgs_membership", user=pk, organization="{organization}", role="viewer")(client, place)


ON: Final = json.dumps({"is_independent": True})
DEEDS: Final[dict[str, Deed]] = {
    "orgs.Organization add": _add("orgs_organization", organization_id="initech", name="Initech"),
    "orgs.Organization change": _change("orgs_organization", _organization, name="Other"),
    "orgs.Organization orgs_organization_independence": _post("orgs_organization_independence", _organization, ON),
    "orgs.ApiKey add": _add("orgs_apikey", organization="{organization}", name="ci", kind="viewer"),
    "orgs.ApiKey revoke_chosen": _action("orgs_apikey", "revoke_chosen", _key),
    "orgs.ApiKey orgs_apikey_rotate": _post("orgs_apikey_rotate", _key, {"grace_seconds": "3600", "seen": ""}),
    "orgs.ApiKey orgs_apikey_revoke": _post("orgs_apikey_revoke", _key, {"post": "yes"}),
    "orgs.User add": _add(
        "orgs_user", username="vera", password1=NEW_PASSWORD, password2=NEW_PASSWORD, organization="{organization}",
        role="viewer",
    ),
    "orgs.User change": _change("orgs_user", _user, email="other@example.com"),
    "orgs.User delete": _post("orgs_user_delete", _user, {"post": "yes"}),
    "orgs.User auth_user_password_change": _post(
        "auth_user_password_change", _user, {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
    ),
    "orgs.Membership add": _join,
    "orgs.Membership change": _change("orgs_membership", _membership, role="operator"),
    "orgs.Membership delete": _post("orgs_membership_delete", _membership, {"post": "yes"}),
    "orgs.Membership delete_selected": _action("orgs_membership", "delete_selected", _membership),
    "orchestrators.Instance add": _add(
        "orchestrators_instance", orchestrator_id="edge-7", organization="{organization}", name="Edge"
    ),
    "orchestrators.Instance change": _change("orchestrators_instance", _idle, name="Other"),
    "orchestrators.Instance delete": _post("orchestrators_instance_delete", _idle, {"post": "yes"}),
    "orchestrators.Instance delete_selected": _action("orchestrators_instance", "delete_selected", _idle),
    "orchestrators.Instance orchestrators_instance_independence": _post(
        "orchestrators_instance_independence", _idle, ON
    ),
    "orchestrators.Instance orchestrators_instance_message": _post(
        "orchestrators_instance_message", _idle, {"message_type": "restart", "content": "{}"}
    ),
    "orchestrators.Instance bulk_message": _action(
        "orchestrators_instance", "bulk_message", _idle, apply="yes", message_type="restart", content="{}"
    ),
    "orchestrators.Instance bulk_independence": _action(
        "orchestrators_instance", "bulk_independence", _idle, apply="yes", state="on"
    ),
    "orchestrators.Instance bulk_labels": _action(
        "orchestrators_instance", "bulk_labels", _idle, apply="yes", wanted="env=prod"
    ),
    "orchestrators.Instance bulk_configuration": _action(
        "orchestrators_instance", "bulk_configuration", _idle, apply="yes", how="patch", patch='{"features": {"a": 1}}'
    ),
    "orchestrators.OverrideVersion orchestrators_overrideversion_rollback": _post(
        "orchestrators_overrideversion_rollback", _override, {}
    ),
    "orchestrators.Job orchestrators_job_cancel": _post(
        "orchestrators_job_cancel", lambda place: Job.objects.get(job_id=place.job).pk, {}
    ),
    "orchestrators.Message add": _add(
        "orchestrators_message", orchestrator="{idle}", message_type="restart", message_content="{{}}"
    ),
    "orchestrators.Message orchestrators_message_verdict": _post(
        "orchestrators_message_verdict", lambda place: int(place.message), {"verdict": "cancel"}
    ),
    "orgs.Organization orgs_organization_configuration": _post(
        "orgs_organization_configuration", _organization, {"document": '{"llm": {}}', "seen": "1", "how": "now"}
    ),
    "orchestrators.ConfigVersion orchestrators_configversion_rollback": _post(
        "orchestrators_configversion_rollback", _version, {}
    ),
    "orchestrators.Rollout orchestrators_rollout_steer": _steer,
    "orchestrators.Recommendation orchestrators_recommendation_decide": lambda client, place: client.post(
        reverse("admin:orchestrators_recommendation_decide", args=[int(place.recommendation), "dismiss"])
    ),
    "orchestrators.Task add": _add(
        "orchestrators_task", organization="{organization}", task_type="bugfix", urgency="P2", payload="{{}}"
    ),
    "orchestrators.Task orchestrators_task_cancel": _post("orchestrators_task_cancel", _task, {"reason": "enough"}),
    "orchestrators.Task orchestrators_task_again": _again,
    "orchestrators.Approval orchestrators_approval_decide": _post(
        "orchestrators_approval_decide", _approval, {"verdict": "approve"}
    ),
    "orchestrators.Approval approve_chosen": _action(
        "orchestrators_approval", "approve_chosen", _approval, apply="yes"
    ),
    "orchestrators.Approval reject_chosen": _action("orchestrators_approval", "reject_chosen", _approval, apply="yes"),
    "orchestrators.Agent add": _add(
        "orchestrators_agent", organization="{organization}", agent_id="helper", name="Helper", status="active"
    ),
    "orchestrators.Agent change": _change("orchestrators_agent", _agent, name="Other"),
    "orchestrators.Route add": _add(
        "orchestrators_route", organization="{organization}", task_type="sweep", agent_id="sweeper"
    ),
    "orchestrators.Route change": _change("orchestrators_route", _route, needs_approval="on"),
    "orchestrators.Route delete": _post("orchestrators_route_delete", _route, {"post": "yes"}),
    "orchestrators.Route delete_selected": _action("orchestrators_route", "delete_selected", _route),
    "monitoring.SystemMetric monitoring_systemmetric_export": lambda client, place: client.post(
        reverse("admin:monitoring_systemmetric_export"),
        {"metrics": "cpu_usage_percent", "start": "2026-11-20T00:00", "end": "2026-11-21T00:00", "by": "hour",
         "organization": place.organization, "export_type": "csv"},
    ),
    "monitoring.Alert monitoring_alert_handle": _post(
        "monitoring_alert_handle", lambda place: Alert.objects.get(alert_id=place.alert).pk, {"verdict": "acknowledge"}
    ),
    "monitoring.Alert acknowledge_chosen": _action(
        "monitoring_alert", "acknowledge_chosen", lambda place: Alert.objects.get(alert_id=place.alert).pk
    ),
    "monitoring.Rule add": _add(
        "monitoring_rule", rule_key="own", organization_id="{organization}", alert_type="own", title="Own",
        metric="cpu_usage_percent", comparison=">=", threshold="50", severity="info", scope="orchestrator",
    ),
    "monitoring.Rule change": _change("monitoring_rule", lambda place: int(place.rule), threshold="55"),
    "monitoring.Rule delete": _post("monitoring_rule_delete", lambda place: int(place.rule), {"post": "yes"}),
    "orchestrators.EventRule add": _add(
        "orchestrators_eventrule", organization="{organization}", name="Failed", event_type="deploy.failed",
        action="task", task_type="incident", per_minute="5", severity="error",
    ),
    "orchestrators.EventRule change": _change("orchestrators_eventrule", _event_rule, severity="critical"),
    "orchestrators.EventRule delete": _post("orchestrators_eventrule_delete", _event_rule, {"post": "yes"}),
    "monitoring.Silence add": _add("monitoring_silence", kind="maintenance", organization_id="{organization}"),
    "monitoring.Silence monitoring_silence_end": _post(
        "monitoring_silence_end", lambda place: Silence.objects.get(silence_id=place.silence).pk, {}
    ),
    "orgs.AllowedNetwork add": _add("orgs_allowednetwork", organization="{organization}", cidr="10.3.0.0/16"),
    "orgs.AllowedNetwork delete": _post("orgs_allowednetwork_delete", _network, {"post": "yes"}),
    "orgs.AllowedNetwork delete_selected": _action("orgs_allowednetwork", "delete_selected", _network),
    "monitoring.Channel add": _add(
        "monitoring_channel", organization="{organization}", name="ops", kind="email", recipients="ops@example.com",
        min_severity="error",
    ),
    "monitoring.Channel change": _change("monitoring_channel", _channel, name="Other"),
    "monitoring.Channel delete": _post("monitoring_channel_delete", _channel, {"post": "yes"}),
    "monitoring.Channel delete_selected": _action("monitoring_channel", "delete_selected", _channel),
    "monitoring.Channel monitoring_channel_test": _post("monitoring_channel_test", _channel, {}),
    "llm_gateway.Provider add": _add(
        "llm_gateway_provider", organization="{organization}", name="ours", dialect="echo", api_key="sk-0123456789ab"
    ),
    "llm_gateway.Provider change": _change("llm_gateway_provider", _provider, known_models="one, two"),
    "llm_gateway.Provider delete": _post("llm_gateway_provider_delete", _provider, {"post": "yes"}),
    "llm_gateway.Provider delete_selected": _action("llm_gateway_provider", "delete_selected", _provider),
    "llm_gateway.Provider llm_gateway_provider_test": _post("llm_gateway_provider_test", _provider, {"back": "list"}),
    "llm_gateway.Provider llm_gateway_provider_environment": _post(
        "llm_gateway_provider_environment", lambda _: "echo", {}
    ),
    "llm_gateway.GatewayPolicy add": _add(
        "llm_gateway_gatewaypolicy", organization="{organization}", keeps_content="on", content_days="7"
    ),
    "llm_gateway.GatewayPolicy change": _change("llm_gateway_gatewaypolicy", _policy, is_private="on"),
    "llm_gateway.GatewayPolicy delete": _post("llm_gateway_gatewaypolicy_delete", _policy, {"post": "yes"}),
    "llm_gateway.GatewayPolicy delete_selected": _action("llm_gateway_gatewaypolicy", "delete_selected", _policy),
    "llm_gateway.Alias add": _add(
        "llm_gateway_alias", organization="{organization}", alias="quick", targets_model=["echo/echo"],
        targets_weight=[""],
    ),
    "llm_gateway.Alias change": _change(
        "llm_gateway_alias", _alias, targets_model=["echo/echo", "a/b"], targets_weight=["2", ""]
    ),
    "llm_gateway.Alias delete": _post("llm_gateway_alias_delete", _alias, {"post": "yes"}),
    "llm_gateway.Alias delete_selected": _action("llm_gateway_alias", "delete_selected", _alias),
    "llm_gateway.Price add": _add(
        "llm_gateway_price", organization="{organization}", model="own/one", input_usd_per_million="1",
        output_usd_per_million="2",
    ),
    "llm_gateway.Price change": _change("llm_gateway_price", _price, output_usd_per_million="3"),
    "llm_gateway.Price delete": _post("llm_gateway_price_delete", _price, {"post": "yes"}),
    "llm_gateway.Price delete_selected": _action("llm_gateway_price", "delete_selected", _price),
    "llm_gateway.CacheRule add": lambda client, _: _add(
        "llm_gateway_cacherule", organization=_newcomer(), is_enabled="on", names="*", ttl_seconds="60"
    )(client, NOWHERE),
    "llm_gateway.CacheRule change": _change("llm_gateway_cacherule", _organization, names="a/b"),
    "llm_gateway.CacheRule empty": _action("llm_gateway_cacherule", "empty", _organization),
    "llm_gateway.Guardrails add": lambda client, _: _add(
        "llm_gateway_guardrails", organization=_newcomer()
    )(client, NOWHERE),
    "llm_gateway.Guardrails change": _change("llm_gateway_guardrails", _organization, rules_many="0"),
    "llm_gateway.WorkflowRun llm_gateway_workflowrun_cancel": _post("llm_gateway_workflowrun_cancel", _run, {}),
    "llm_gateway.WorkflowTemplate add": _add(
        "llm_gateway_workflowtemplate", organization="{organization}", name="own", description="Own."
    ),
    "llm_gateway.WorkflowTemplate change": _change("llm_gateway_workflowtemplate", _template, description="Other."),
    "llm_gateway.WorkflowTemplate delete": _post("llm_gateway_workflowtemplate_delete", _template, {"post": "yes"}),
    "llm_gateway.WorkflowTemplate delete_selected": _action(
        "llm_gateway_workflowtemplate", "delete_selected", _template
    ),
    "orgs.SpendingLimit add": _add(
        "orgs_spendinglimit", organization="{organization}", model="own/one", budget_usd="3", budget_window="day"
    ),
    "orgs.SpendingLimit change": _change("orgs_spendinglimit", _limit, budget_usd="7"),
    "orgs.SpendingLimit delete": _post("orgs_spendinglimit_delete", _limit, {"post": "yes"}),
    "orgs.SpendingLimit delete_selected": _action("orgs_spendinglimit", "delete_selected", _limit),
    "own password": lambda client, _: client.post(
        reverse("admin:password_change"),
        {"old_password": PASSWORD, "new_password1": NEW_PASSWORD, "new_password2": NEW_PASSWORD},
    ),
}  # fmt: skip
