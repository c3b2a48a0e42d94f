"""Every HTTP door."""

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponsePermanentRedirect
from django.urls import path, re_path

from llm_gateway import aliases_api as aliases
from llm_gateway import budgets_api as budgets
from llm_gateway import cache_api as cache
from llm_gateway import calls_api as calls
from llm_gateway import guardrails_api as guardrails
from llm_gateway import policies_api as policies
from llm_gateway import prices_api as prices
from llm_gateway import providers_api as providers
from llm_gateway import refusals_api as refusals
from llm_gateway.prompts import api as prompts
from llm_gateway.workflows import api as workflows
from llm_gateway.workflows import templates_api as workflow_templates
from monitoring import activity_api as activity
from monitoring import analytics_api as analytics
from monitoring import channels_api as channels
from monitoring import costs_api as costs
from monitoring import export_api as export
from monitoring import metrics_api as metrics
from monitoring import overview_api as overview
from monitoring import performance_api as performance
from monitoring import system_api as system
from monitoring.alerts import api as alerts
from monitoring.alerts import rules_api as alert_rules
from monitoring.alerts import silences_api as silences
from monitoring.approvals import page as decisions
from monitoring.exports import api as exports
from monitoring.streams import api as streams
from moolai import console, errors, health, health_api
from moolai.console import lost
from moolai.openapi import views as openapi
from orchestrators import api as fleet
from orchestrators import configuration_api as config
from orchestrators import instances_api as registry
from orchestrators import jobs_api as jobs
from orchestrators import organizations_api as tenants
from orchestrators import overrides_api as overrides
from orchestrators import plain_http_api as plain_http
from orchestrators import recommendations_api as recommendations
from orchestrators import rollouts_api as rollouts
from orchestrators.work import api as work
from orchestrators.work import approvals_api as approvals
from orchestrators.work import flat_api as flat_work
from orgs import api_keys_api as api_keys
from orgs import audit_api as audit
from orgs import auth_api as auth
from orgs import flat_auth_api as flat_auth
from orgs import networks_api as networks
from orgs import users_api as users

admin.autodiscover()
ONE = "api/v1/controller/orchestrators/(?P<orchestrator_id>[^/]+)"
OWN = "api/v1/orchestrators/(?P<organization_id>[^/]+)"
FLOWS = "v1/ai-orchestration"

urlpatterns = [
    path("", health.root),
    re_path(r"^health/?$", health.health),
    re_path(r"^healthz/?$", health.healthz),
    re_path(r"^readyz/?$", health.readyz),
    re_path(r"^metrics/?$", metrics.Scrape.as_view()),
    re_path(r"^auth/token/?$", flat_auth.TokenDoor.as_view()),
    re_path(r"^stats/?$", flat_work.StatsDoor.as_view()),
    re_path(r"^tasks/?$", flat_work.Tasks.as_view()),
    re_path(r"^tasks/(?P<task_id>[^/]+)/?$", flat_work.OneTask.as_view()),
    re_path(r"^tasks/(?P<task_id>[^/]+)/status/?$", flat_work.TaskStatus.as_view()),
    re_path(r"^events/publish/?$", flat_work.Publishing.as_view()),
    re_path(r"^approvals/pending/?$", approvals.PendingApprovals.as_view()),
    re_path(r"^approvals/history/?$", approvals.ApprovalHistory.as_view()),
    re_path(r"^approvals/(?P<approval_id>[^/]+)/?$", approvals.OneApproval.as_view()),
    re_path(r"^approvals/(?P<approval_id>[^/]+)/approve/?$", approvals.Approving.as_view()),
    re_path(r"^approvals/(?P<approval_id>[^/]+)/reject/?$", approvals.Rejecting.as_view()),
    re_path(r"^decide/(?P<token>[^/]+)/?$", decisions.view),
    re_path(r"^api/schema/?$", openapi.Schema.as_view()),
    re_path(r"^api/docs/?$", openapi.Docs.as_view()),
    re_path(r"^api/v1/internal/auth/login/?$", auth.Login.as_view()),
    re_path(r"^api/v1/internal/auth/refresh/?$", auth.Renew.as_view()),
    re_path(r"^api/v1/internal/auth/logout/?$", auth.Logout.as_view()),
    re_path(r"^api/v1/controller/health/?$", health_api.ControllerHealth.as_view()),
    re_path(r"^api/v1/internal/health/?$", health_api.InternalHealth.as_view()),
    re_path(r"^api/v1/system/health/?$", system.SystemHealth.as_view()),
    re_path(r"^api/v1/system/metrics/?$", system.Metrics.as_view()),
    re_path(r"^api/v1/system/metrics/organization/(?P<organization_id>[^/]+)/?$", system.OrganizationMetrics.as_view()),
    re_path(
        r"^api/v1/system/metrics/organization/(?P<organization_id>[^/]+)/latest/?$", system.LatestMetrics.as_view()
    ),
    re_path(r"^api/v1/system/metrics/summary/(?P<kind>[^/]+)/?$", system.MetricsSummary.as_view()),
    re_path(r"^api/v1/system/collect/immediate/?$", system.Collect.as_view()),
    re_path(r"^api/v1/system/collect/organization/(?P<organization_id>[^/]+)/?$", system.CollectFor.as_view()),
    re_path(r"^api/v1/system/status/background/?$", system.CollectionStatus.as_view()),
    re_path(r"^api/v1/system/status/collection/?$", system.CollectionStatus.as_view()),
    re_path(r"^export/metrics/?$", export.ExportMetrics.as_view()),
    re_path(r"^v1/performance/health/?$", performance.PerformanceHealth.as_view()),
    re_path(r"^v1/performance/metrics/current/?$", system.Metrics.as_view()),
    re_path(r"^v1/performance/metrics/history/?$", performance.History.as_view()),
    re_path(r"^v1/performance/metrics/summary/?$", performance.PerformanceSummary.as_view()),
    re_path(r"^v1/performance/alerts/?$", alerts.Alerts.as_view()),
    re_path(r"^v1/performance/status/?$", performance.PerformanceStatus.as_view()),
    re_path(r"^v1/performance/optimize/?$", performance.Optimization.as_view()),
    re_path(r"^v1/performance/activity/summary/?$", activity.ActivitySummary.as_view()),
    re_path(r"^v1/performance/activity/track/?$", activity.Tracking.as_view()),
    re_path(rf"^{FLOWS}/workflows/?$", workflows.Workflows.as_view()),
    re_path(rf"^{FLOWS}/workflows/batch/?$", workflows.Batches.as_view()),
    re_path(rf"^{FLOWS}/workflows/types/?$", workflows.Types.as_view()),
    re_path(rf"^{FLOWS}/workflows/optimize/?$", workflows.Optimization.as_view()),
    re_path(rf"^{FLOWS}/workflows/(?P<workflow_id>[^/]+)/?$", workflows.OneWorkflow.as_view()),
    re_path(rf"^{FLOWS}/workflows/(?P<workflow_id>[^/]+)/status/?$", workflows.OneStatus.as_view()),
    re_path(rf"^{FLOWS}/workflows/(?P<workflow_id>[^/]+)/stream/?$", workflows.OneStream.as_view()),
    re_path(rf"^{FLOWS}/services/health/?$", workflows.ServicesHealth.as_view()),
    re_path(r"^api/v1/controller/overview/?$", overview.Overview.as_view()),
    re_path(r"^api/v1/controller/performance/?$", analytics.Performance.as_view()),
    re_path(r"^api/v1/analytics/performance/?$", analytics.Performance.as_view()),
    re_path(r"^api/v1/controller/insights/?$", analytics.Insights.as_view()),
    re_path(r"^api/v1/controller/query/?$", analytics.Query.as_view()),
    re_path(r"^api/v1/controller/export/?$", exports.Exports.as_view()),
    re_path(r"^api/v1/controller/export/(?P<job_id>[^/]+)/?$", exports.OneExport.as_view()),
    re_path(r"^api/v1/controller/export/(?P<job_id>[^/]+)/download/?$", exports.Download.as_view()),
    re_path(r"^api/v1/controller/costs/?$", costs.Costs.as_view()),
    re_path(r"^api/v1/controller/organizations/?$", tenants.Organizations.as_view()),
    re_path(r"^api/v1/controller/organizations/(?P<organization_id>[^/]+)/?$", tenants.OneOrganization.as_view()),
    re_path(r"^api/v1/organizations/?$", tenants.Organizations.as_view()),
    re_path(r"^api/v1/organizations/(?P<organization_id>[^/]+)/?$", tenants.OneOrganization.as_view()),
    re_path(r"^api/v1/controller/orchestrators/?$", registry.Orchestrators.as_view()),
    re_path(r"^api/v1/controller/orchestrators/live/?$", registry.Live.as_view()),
    re_path(r"^api/v1/controller/orchestrators/(?P<orchestrator_id>[^/]+)/?$", registry.Orchestrator.as_view()),
    re_path(rf"^{ONE}/config/versions/?$", overrides.Versions.as_view()),
    re_path(rf"^{ONE}/config/versions/(?P<version>[0-9]{{1,9}})/?$", overrides.Version.as_view()),
    re_path(rf"^{ONE}/config/rollback/?$", overrides.Rollback.as_view()),
    re_path(r"^api/v1/internal/orchestrators/register/?$", plain_http.Register.as_view()),
    re_path(r"^api/v1/internal/orchestrators/heartbeat/?$", plain_http.Heartbeat.as_view()),
    re_path(
        r"^api/v1/internal/orchestrators/(?P<orchestrator_id>[^/]+)/deregister/?$", plain_http.Deregister.as_view()
    ),
    re_path(r"^api/v1/internal/orchestrators/(?P<orchestrator_id>[^/]+)/independence/?$", fleet.Independence.as_view()),
    re_path(
        r"^api/v1/internal/organizations/(?P<organization_id>[^/]+)/independence/?$",
        fleet.OrganizationIndependence.as_view(),
    ),
    re_path(r"^api/v1/internal/orchestrators/(?P<orchestrator_id>[^/]+)/messages/?$", fleet.Queue.as_view()),
    re_path(r"^api/v1/internal/messages/?$", fleet.Messages.as_view()),
    re_path(r"^api/v1/internal/messages/(?P<pk>[0-9]{1,18})/status/?$", fleet.MessageStatus.as_view()),
    re_path(r"^api/v1/internal/audit/?$", audit.AuditTrail.as_view()),
    re_path(r"^api/v1/internal/allowed-networks/?$", networks.Networks.as_view()),
    re_path(r"^api/v1/internal/allowed-networks/(?P<network_id>[0-9]{1,18})/?$", networks.OneNetwork.as_view()),
    re_path(r"^api/v1/stream/?$", streams.Everything.as_view()),
    re_path(r"^api/v1/stream/system/health/?$", streams.Health.as_view()),
    re_path(r"^api/v1/stream/metrics/organization/?$", streams.Metrics.as_view()),
    re_path(rf"^{OWN}/health/?$", tenants.OrganizationHealth.as_view()),
    re_path(rf"^{OWN}/tasks/?$", work.Tasks.as_view()),
    re_path(rf"^{OWN}/tasks/(?P<task_id>[^/]+)/?$", work.OneTask.as_view()),
    re_path(rf"^{OWN}/tasks/(?P<task_id>[^/]+)/cancel/?$", work.Cancellation.as_view()),
    re_path(rf"^{OWN}/agents/?$", work.Agents.as_view()),
    re_path(rf"^{OWN}/agents/(?P<agent_id>[^/]+)/status/?$", work.AgentStatus.as_view()),
    re_path(rf"^{OWN}/prompts/?$", prompts.Prompts.as_view()),
    re_path(rf"^{OWN}/prompts/(?P<prompt_id>[^/]+)/?$", prompts.OnePrompt.as_view()),
    re_path(rf"^{OWN}/prompts/(?P<prompt_id>[^/]+)/stream/?$", prompts.PromptStream.as_view()),
    re_path(r"^api/v1/system/channels/?$", channels.Channels.as_view()),
    re_path(r"^api/v1/system/channels/(?P<channel_id>[^/]+)/?$", channels.OneChannel.as_view()),
    re_path(r"^api/v1/system/channels/(?P<channel_id>[^/]+)/test/?$", channels.Test.as_view()),
    re_path(r"^api/v1/system/channels/(?P<channel_id>[^/]+)/deliveries/?$", channels.Deliveries.as_view()),
    re_path(r"^api/v1/internal/bulk/?$", jobs.Bulk.as_view()),
    re_path(r"^api/v1/internal/jobs/?$", jobs.Jobs.as_view()),
    re_path(r"^api/v1/internal/jobs/(?P<job_id>[^/]+)/?$", jobs.OneJob.as_view()),
    re_path(r"^api/v1/internal/jobs/(?P<job_id>[^/]+)/cancel/?$", jobs.Cancellation.as_view()),
    re_path(rf"^{OWN}/api-keys/?$", api_keys.ApiKeys.as_view()),
    re_path(rf"^{OWN}/api-keys/(?P<key_id>[^/]+)/?$", api_keys.Key.as_view()),
    re_path(rf"^{OWN}/api-keys/(?P<key_id>[^/]+)/rotate/?$", api_keys.Rotation.as_view()),
    re_path(rf"^{OWN}/budget/?$", budgets.Budget.as_view()),
    re_path(rf"^{OWN}/guardrails/?$", guardrails.Guardrails.as_view()),
    re_path(rf"^{OWN}/cache/?$", cache.Cache.as_view()),
    re_path(rf"^{OWN}/cache/entries/?$", cache.CacheEntries.as_view()),
    re_path(rf"^{OWN}/llm-policy/?$", policies.Policy.as_view()),
    re_path(rf"^{OWN}/llm/calls/?$", calls.Calls.as_view()),
    re_path(rf"^{OWN}/llm/calls/(?P<call_id>[^/]+)/?$", calls.OneCall.as_view()),
    re_path(rf"^{OWN}/llm/refusals/?$", refusals.Refusals.as_view()),
    re_path(rf"^{OWN}/prices/?$", prices.Prices.as_view()),
    re_path(rf"^{OWN}/prices/(?P<price_id>[^/]+)/?$", prices.OnePrice.as_view()),
    re_path(r"^api/v1/llm/prices/?$", prices.PricesForAll.as_view()),
    re_path(r"^api/v1/llm/prices/(?P<price_id>[^/]+)/?$", prices.OnePriceForAll.as_view()),
    re_path(rf"^{OWN}/users/?$", users.Users.as_view()),
    re_path(rf"^{OWN}/users/(?P<user_id>[0-9]{{1,18}})/?$", users.Person.as_view()),
    re_path(rf"^{OWN}/config/?$", config.Config.as_view()),
    re_path(rf"^{OWN}/config/validate/?$", config.Validation.as_view()),
    re_path(rf"^{OWN}/config/versions/?$", config.Versions.as_view()),
    re_path(rf"^{OWN}/config/versions/(?P<version>[0-9]{{1,9}})/?$", config.Version.as_view()),
    re_path(rf"^{OWN}/config/rollback/?$", config.Rollback.as_view()),
    re_path(rf"^{OWN}/config/rollouts/?$", rollouts.Rollouts.as_view()),
    re_path(rf"^{OWN}/config/rollouts/(?P<rollout_id>[0-9]{{1,18}})/?$", rollouts.OneRollout.as_view()),
    re_path(rf"^{OWN}/config/rollouts/(?P<rollout_id>[0-9]{{1,18}})/pause/?$", rollouts.Pause.as_view()),
    re_path(rf"^{OWN}/config/rollouts/(?P<rollout_id>[0-9]{{1,18}})/resume/?$", rollouts.Resume.as_view()),
    re_path(rf"^{OWN}/config/rollouts/(?P<rollout_id>[0-9]{{1,18}})/cancel/?$", rollouts.Cancel.as_view()),
    re_path(rf"^{OWN}/recommendations/?$", recommendations.Recommendations.as_view()),
    re_path(rf"^{OWN}/recommendations/(?P<pk>[0-9]{{1,18}})/?$", recommendations.OneRecommendation.as_view()),
    re_path(rf"^{OWN}/recommendations/(?P<pk>[0-9]{{1,18}})/read/?$", recommendations.Reading.as_view()),
    re_path(rf"^{OWN}/recommendations/(?P<pk>[0-9]{{1,18}})/accept/?$", recommendations.Accepting.as_view()),
    re_path(rf"^{OWN}/recommendations/(?P<pk>[0-9]{{1,18}})/dismiss/?$", recommendations.Dismissal.as_view()),
    re_path(r"^api/v1/system/alerts/?$", alerts.Alerts.as_view()),
    re_path(r"^api/v1/system/alerts/organization/(?P<organization_id>[^/]+)/?$", alerts.OrganizationAlerts.as_view()),
    re_path(r"^api/v1/system/alerts/(?P<alert_id>[^/]+)/?$", alerts.OneAlert.as_view()),
    re_path(r"^api/v1/system/alerts/(?P<alert_id>[^/]+)/acknowledge/?$", alerts.Acknowledgement.as_view()),
    re_path(r"^api/v1/system/alerts/(?P<alert_id>[^/]+)/resolve/?$", alerts.Resolution.as_view()),
    re_path(r"^api/v1/system/alert-rules/?$", alert_rules.Rules.as_view()),
    re_path(r"^api/v1/system/alert-rules/(?P<rule_id>[0-9]{1,18})/?$", alert_rules.OneRule.as_view()),
    re_path(r"^api/v1/system/silences/?$", silences.Silences.as_view()),
    re_path(r"^api/v1/system/silences/(?P<silence_id>[^/]+)/?$", silences.OneSilence.as_view()),
    re_path(r"^api/v1/llm/providers/?$", providers.GlobalProviders.as_view()),
    re_path(r"^api/v1/llm/providers/(?P<provider_id>[^/]+)/?$", providers.GlobalProvider.as_view()),
    re_path(r"^api/v1/llm/providers/(?P<provider_id>[^/]+)/test/?$", providers.GlobalTest.as_view()),
    re_path(r"^api/v1/llm/aliases/?$", aliases.GlobalAliases.as_view()),
    re_path(r"^api/v1/llm/aliases/(?P<alias_id>[^/]+)/?$", aliases.GlobalAlias.as_view()),
    re_path(rf"^{OWN}/providers/?$", providers.Providers.as_view()),
    re_path(rf"^{OWN}/providers/(?P<provider_id>[^/]+)/?$", providers.OneProvider.as_view()),
    re_path(rf"^{OWN}/providers/(?P<provider_id>[^/]+)/test/?$", providers.Test.as_view()),
    re_path(rf"^{OWN}/aliases/?$", aliases.Aliases.as_view()),
    re_path(rf"^{OWN}/aliases/(?P<alias_id>[^/]+)/?$", aliases.OneAlias.as_view()),
    re_path(rf"^{OWN}/workflow-templates/?$", workflow_templates.Templates.as_view()),
    re_path(rf"^{OWN}/workflow-templates/(?P<template_id>[^/]+)/?$", workflow_templates.OneTemplate.as_view()),
    *console.urlpatterns,
    path("admin", lambda request: HttpResponsePermanentRedirect("/admin/")),
    path("admin/", admin.site.urls),
]


def handler404(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer an unknown path: a person with a page, a program with the error object."""
    if lost.is_for_person(request):
        return lost.page(request)
    return errors.respond(request, "not_found", "There is nothing at this path.")


def handler500(request: HttpRequest) -> HttpResponse:
    """Answer what no view caught, without a traceback."""
    return errors.respond(request, "internal_error")


def handler400(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer a request Django could not take in."""
    return errors.respond(request, "bad_request")


def handler403(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer a denied request: a person with a page, a program with the error object."""
    return lost.denied(request)
