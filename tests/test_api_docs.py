"""docs/api.md names every call of the API, and every field of its bodies and answers."""

import re
from pathlib import Path
from typing import Any

import pytest
from django.urls import Resolver404, resolve
from rest_framework.serializers import BaseSerializer, ListSerializer

from llm_gateway import aliases_api as aliases
from llm_gateway import budgets_api as budgets
from llm_gateway import cache_api as cache
from llm_gateway import calls_api as calls
from llm_gateway import guardrails_api as guardrails
from llm_gateway import policies_api as policies
from llm_gateway import prices_api as prices
from llm_gateway import providers_api as providers
from llm_gateway import refusals_api as refusals
from llm_gateway.prompts import rows as prompts
from llm_gateway.workflows import rows as flows
from llm_gateway.workflows import templates_api as templates
from monitoring import activity_api as activity
from monitoring import analytics_api as analytics
from monitoring import channels_api as channels
from monitoring import costs_api as costs
from monitoring import export_api as export
from monitoring import overview_api as overview
from monitoring import performance_api as performance
from monitoring import rows as measured
from monitoring import system_api as system
from monitoring.exports import api as exports
from moolai import health_api as health
from moolai.testing.product import PROJECT
from moolai.urls import urlpatterns
from orchestrators import api as fleet
from orchestrators import instances_api as registry
from orchestrators import jobs_api as jobs
from orchestrators import organizations_api as tenants
from orchestrators import recommendations_api as recommendations
from orchestrators.work import api as work
from orchestrators.work import flat_api as flat_work
from orchestrators.work import rows as work_rows
from orgs import api_keys_api as api_keys
from orgs import audit_api as audit

pytestmark = pytest.mark.once

TEXT = (Path(PROJECT) / "docs" / "api.md").read_text()
CALLS = sorted(set(re.findall(r"`(GET|POST|PUT|PATCH|DELETE) (/[\w/.-]+)`", TEXT)))


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_every_call_is_there(method: str, path: str) -> None:
    try:
        view: Any = resolve(path).func
    except Resolver404:
        pytest.fail(f"{path} is not there")
    assert method == "GET" or hasattr(view.view_class, method.lower())


def test_every_api_path_has_its_call_and_its_example() -> None:
    doors: list[Any] = list(urlpatterns)
    patterns = [str(door.pattern) for door in doors if "api/v1" in str(door.pattern)]
    assert len(patterns) > 5
    for pattern in patterns:
        calls = [path for _, path in CALLS if re.match(pattern, path[1:])]
        assert calls, pattern
        assert any(f'"$MOOLAI{path}' in TEXT for path in calls), pattern


@pytest.mark.parametrize(
    "serializer",
    [tenants.NewOrganization, tenants.OrganizationRow, fleet.Flag, fleet.NewMessage, registry.NewInstance,
     registry.EnrolledInstance, registry.LiveRow, fleet.MessageRow, audit.AuditRow, overview.OverviewRow,
     overview.TopOrganization, health.HealthRow, health.InternalHealthRow, health.NodeRow, health.LifeSign,
     system.MonitoringHealth, system.Watch, system.Summary, measured.CollectionRow, measured.Statistics,
     performance.Component, performance.HistoryRow, performance.CallsRow, performance.StatusRow, performance.Advice,
     performance.Measured, performance.OptimizationWish, activity.Deed, activity.ActivitySummaryRow, export.Exported,
     tenants.OrganizationHealthRow, jobs.JobRow, jobs.BulkWish, recommendations.RecommendationRow,
     recommendations.Acceptance, channels.MadeChannel, channels.NewChannel, channels.TrialRow, channels.DeliveryRow,
     analytics.PerformanceRow, analytics.PerformancePoint, analytics.PerformanceGroup, analytics.InsightsRow,
     analytics.FindingRow, analytics.AdviceRow, analytics.Question, analytics.TimeRange, analytics.QueryRow,
     exports.ExportWish, exports.ExportSpan, exports.ExportRow,
     budgets.BudgetRow, budgets.ModelStanding, prices.PriceFields, costs.CostsRow, costs.CostLine, costs.CostPoint,
     costs.Forecast, api_keys.NewApiKey, providers.ProviderRow, providers.NewProvider, providers.ProviderTrialRow,
     aliases.AliasRow, aliases.AliasTarget, cache.CacheState, cache.CacheWish,
     guardrails.GuardrailsState, guardrails.GuardrailRule,
     policies.PolicyRow, calls.CallDetail, calls.AttemptRow, calls.ContentRow, refusals.RefusalRow,
     prompts.PromptWish, prompts.PromptDocument,
     flat_work.NewTask, flat_work.NewEvent, work.TaskWish, work.AgentWish,
     flows.WorkflowWish, flows.BatchWish, flows.BatchRow, flows.RunDocument, flows.RunStepRow, flows.TypeRow,
     flows.WorkflowOptimizationRow, flows.MeasuredRow, flows.RunCounts, flows.WorkflowAdviceRow, flows.AdviceWish,
     templates.TemplateRow, templates.TemplateStep, templates.NewTemplate,
     flows.ServicesRow, flows.ServiceProvider, flows.ServiceQueue, flows.ServiceWorker,
     work_rows.FlatTask, work_rows.TaskDocument, work_rows.ApprovalRow, work_rows.AgentStatusRow],
)  # fmt: skip
def test_every_field_is_named(serializer: type[BaseSerializer[object]]) -> None:
    form = serializer()
    assert not isinstance(form, ListSerializer)
    missing = [name for name in form.fields if f"`{name}`" not in TEXT and f'"{name}"' not in TEXT]  # type: ignore[attr-defined]
    assert missing == []
