"""The rows over HTTP: for each route and method a good call about A's objects, and what each role is answered.

The columns: nobody, viewer, operator and admin of A, anybody of B, the superadmin, A's bound and unbound orchestrator
keys, B's. A path may stand in several rows; HEAD and refused methods need none.
"""

from dataclasses import dataclass
from typing import Any, Final

from django.urls import resolve

from tests.matrix.people import Part
from tests.matrix.place import NOWHERE

COLUMNS: Final = ("AN", "MV", "MO", "AA", "B", "SA", "OA", "OU", "OB")
HIDING: Final = ("/api/v1/controller/", "/api/v1/internal/")  # where a failing credential is 403 (API §2)
CONTROLLER, INTERNAL = "/api/v1/controller", "/api/v1/internal"
SYSTEM, PERFORMANCE = "/api/v1/system", "/v1/performance"
OWN: Final = "/api/v1/orchestrators/{organization}"
PASSWORD: Final = "correct horse battery staple"
NEW_PASSWORD: Final = "another long secret 17"
PUBLIC: Final = "https://93.184.215.14/hook"  # an address is looked up, and no name has one in a test


@dataclass(frozen=True)
class Row:
    """One call: templates of path and body, the status per column, and for people where theirs differs.

    In the column B, `403/200` is B's viewer and B's administrator. `audit` counts the audit rows of a success. A quiet
    row is played while none of A's orchestrators is connected, one with `rollout` while A's rollout has that status.
    """

    method: str
    path: str
    statuses: str
    body: Any = None
    people: str = ""
    audit: int = 0
    is_public: bool = False
    is_quiet: bool = False
    rollout: str = ""

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def key(self) -> tuple[str, str]:
        """The route as urlpatterns have it, and the method."""
        return resolve(NOWHERE.fill(self.path).partition("?")[0]).route, self.method

    @property
    def needs_caller(self) -> bool:
        """Whether nobody is refused."""
        return self.status("AN", "none") == 401

    def status(self, role: str, kind: str) -> int:
        """Return what a role with a good credential is answered."""
        text = self.people if self.people and kind in ("jwt", "session") else self.statuses
        found = dict(zip(COLUMNS, text.split(), strict=True))
        viewer, _, admin = found.pop("B").partition("/")
        return int((found | {"MB": viewer, "AB": admin or viewer})[role])

    def answer(self, part: Part) -> int:
        """Return what somebody with a good credential is answered."""
        return self.status(part.role, part.kind)


def public(method: str, path: str, body: Any = None, status: int = 200) -> Row:
    """Return the row of a call that needs no credential."""
    return Row(method, path, " ".join([str(status)] * len(COLUMNS)), body, is_public=True)


LOGIN: Final = {"username": "{username}", "password": PASSWORD}
REFRESH: Final = {"refresh_token": "{refresh_token}"}
LLM: Final = "/api/v1/llm"
FLOWS: Final = "/v1/ai-orchestration"
FLOW: Final = {"workflow_type": "classification", "input_data": {"text": "It crashes.", "categories": ["bug"]}}
ROOT: Final = "401 403 403 403 403 200 403 403 403"
FLAG: Final = {"is_independent": True, "reason": "maintenance"}
REGISTRATION: Final = {
    "orchestrator_id": "{orchestrator}",
    "organization_id": "{organization}",
    "name": "Edge",
    "internal_url": "http://10.0.0.4:8080",
    "database_url": "postgres://edge:secret@10.0.0.5/edge",
}
BEAT: Final = {"orchestrator_id": "{orchestrator}", "status": "active", "health_status": "healthy"}

#                 AN  MV  MO  AA  B   SA  OA  OU  OB
LIST: Final = "   401 200 200 200 200 200 200 200 200"  # own rows only: test_canary.py
READ: Final = "   401 200 200 200 404 200 200 200 404"
CHANGE: Final = " 401 403 403 200 404 200 403 403 404"
MEMBERS: Final = "401 200 200 200 404 200 403 403 404"
LIFE: Final = "   401 403 403 200 404 200 200 200 404"


def organizations(root: str) -> list[Row]:
    """Return the rows of the organizations' doors, which stand under two roots."""
    one = f"{root}/organizations/{{organization}}"
    return [
        #                                       AN  MV  MO  AA  B   SA  OA  OU  OB
        Row("GET", f"{root}/organizations",    "401 200 200 200 200 200 403 403 403"),
        Row("POST", f"{root}/organizations",   "401 403 403 403 403 201 403 403 403",
            {"organization_id": "initech", "name": "Initech"}, audit=1),
        Row("GET", one,                        "401 200 200 200 404 200 403 403 404"),
        Row("PUT", one, CHANGE, {"name": "Other"}, audit=1),
        Row("PATCH", one, CHANGE, {"name": "Other"}, audit=1),
        Row("PATCH", one,                      "401 403 403 403 404 200 403 403 404", {"status": "inactive"}, audit=1),
        Row("DELETE", one,                     "401 403 403 403 404 409 403 403 404"),
        Row("DELETE", one,                     "401 403 403 403 404 204 403 403 404", audit=1, is_quiet=True),
    ]  # fmt: skip


ROWS: Final = [
    public("GET", "/"),
    public("GET", "/health"),
    public("GET", "/healthz"),
    public("GET", "/readyz"),
    Row("GET", "/metrics",                                      "401 403 403 403 403 200 403 403 403"),
    public("POST", f"{INTERNAL}/auth/login", LOGIN),
    public("POST", f"{INTERNAL}/auth/refresh", REFRESH),
    public("POST", f"{INTERNAL}/auth/logout", REFRESH),
    #                                                            AN  MV  MO  AA  B   SA  OA  OU  OB
    Row("POST", "/auth/token",                                  "401 403 403 403 403 200 403 403 403",
        {"user_id": "ann", "role": "viewer", "organization_id": "{organization}"}, audit=1),
    public("GET", "/stats"),
    Row("POST", "/tasks",                                       "401 403 200 200 403/404 200 403 403 403",
        {"type": "bugfix", "payload": {}, "priority": "P1", "organization_id": "{organization}"}),
    Row("GET", "/tasks/{task}", READ),
    Row("PATCH", "/tasks/{task}/status?status=completed",       "401 403 409 200 404 200 200 409 404"),
    Row("POST", "/events/publish",                              "401 403 200 200 403/404 200 403 403 403",
        {"event_type": "built", "source_agent": "ci", "payload": {}, "organization_id": "{organization}"}),
    Row("GET", "/approvals/pending",                            "401 200 200 200 200 200 403 403 403"),
    Row("GET", "/approvals/pending?organization_id={organization}",
                                                                "401 200 200 200 404 200 403 403 403"),
    Row("GET", "/approvals/history",                            "401 200 200 200 200 200 403 403 403"),
    Row("GET", "/approvals/history?organization_id={organization}",
                                                                "401 200 200 200 404 200 403 403 403"),
    Row("GET", "/approvals/{approval}", MEMBERS),
    Row("POST", "/approvals/{approval}/approve",                "401 403 200 200 404 200 403 403 404", audit=1),
    Row("POST", "/approvals/{approval}/reject?reason=no",       "401 403 200 200 404 200 403 403 404", audit=1),
    Row("GET", f"{OWN}/tasks", READ),
    Row("POST", f"{OWN}/tasks",                                 "401 403 201 201 404 201 403 403 404",
        {"task_type": "bugfix", "parameters": {}, "priority": 7}),
    Row("GET", f"{OWN}/tasks/{{task}}", READ),
    Row("PUT", f"{OWN}/tasks/{{task}}/cancel",                  "401 403 200 200 404 200 403 403 404", {}, audit=1),
    Row("GET", f"{OWN}/agents", MEMBERS),
    Row("POST", f"{OWN}/agents",                                "401 403 403 201 404 201 403 403 404",
        {"name": "Reviewer", "capabilities": ["review"]}, audit=1),
    Row("GET", f"{OWN}/agents/{{agent}}/status", MEMBERS),
    Row("GET", f"{OWN}/prompts", MEMBERS),
    Row("POST", f"{OWN}/prompts",                               "401 403 201 201 404 201 403 403 404",
        {"prompt": "Why?", "agent_id": "{agent}", "context": {"a": 1}, "temperature": 0.5, "max_tokens": 9}),
    Row("GET", f"{OWN}/prompts/{{prompt}}", MEMBERS),
    Row("GET", f"{OWN}/prompts/{{prompt}}/stream", MEMBERS),
    Row("POST", f"{FLOWS}/workflows",                           "401 403 202 202 403/202 202 202 202 202", FLOW),
    Row("POST", f"{FLOWS}/workflows/batch",                     "401 403 202 202 403/202 202 202 202 202",
        {"workflows": [FLOW]}),
    Row("GET", f"{FLOWS}/workflows/{{workflow}}/status", READ),
    Row("GET", f"{FLOWS}/workflows/{{batch}}/status", READ),
    Row("GET", f"{FLOWS}/workflows/{{workflow}}/stream", READ),
    Row("GET", f"{FLOWS}/workflows/{{batch}}/stream", READ),
    Row("DELETE", f"{FLOWS}/workflows/{{workflow}}",            "401 403 204 204 404 204 204 204 404", audit=1),
    Row("GET", f"{FLOWS}/workflows/types",                      "401 200 200 200 200 200 200 200 200"),
    Row("POST", f"{FLOWS}/workflows/optimize",                  "401 200 200 200 200 200 403 403 403", {}),
    Row("GET", f"{FLOWS}/services/health",                      "401 200 200 200 200 200 403 403 403"),
    Row("GET", f"{CONTROLLER}/health",                          "200 200 200 200 200 200 200 200 200"),
    Row("GET", f"{INTERNAL}/health",                            "401 403 403 403 403 200 403 403 403"),
    Row("GET", f"{OWN}/health",                                 "401 200 200 200 404 200 403 403 404"),
    Row("GET", "/api/schema/",                                  "401 200 200 200 200 200 200 200 200"),
    Row("GET", "/api/docs/",                                    "401 200 200 200 200 200 200 200 200"),
    *organizations(CONTROLLER),
    *organizations("/api/v1"),
    public("GET", f"{SYSTEM}/health"),
    Row("GET", f"{SYSTEM}/metrics",                             "401 200 200 200 200 200 403 403 403"),
    Row("GET", f"{SYSTEM}/metrics?organization_id={{organization}}",
                                                                "401 200 200 200 404 200 403 403 403"),
    Row("GET", f"{SYSTEM}/metrics/organization/{{organization}}", MEMBERS),
    Row("GET", f"{SYSTEM}/metrics/organization/{{organization}}/latest", MEMBERS),
    *(Row("GET", f"{SYSTEM}/metrics/summary/{kind}?organization_id={{organization}}",
                                                                "401 200 200 200 404 200 403 403 403")
      for kind in ("cpu", "memory", "storage")),
    Row("POST", f"{SYSTEM}/collect/immediate",                  "401 403 403 403 403 200 403 403 403", {}),
    Row("POST", f"{SYSTEM}/collect/organization/{{organization}}",
                                                                "401 403 403 403 404 200 403 403 404", {}),
    *(Row("GET", f"{SYSTEM}/status/{kind}?organization_id={{organization}}",
                                                                "401 200 200 200 404 200 403 403 403")
      for kind in ("background", "collection")),
    *(Row("GET", f"/export/metrics?org_id={{organization}}&format={kind}",
                                                                "401 200 200 200 404 200 403 403 403")
      for kind in ("json", "csv", "prometheus", "grafana")),
    *(Row("GET", f"{PERFORMANCE}/{name}?organization_id={{organization}}",
                                                                "401 200 200 200 404 200 403 403 403")
      for name in ("health", "metrics/current", "metrics/history", "metrics/summary", "alerts", "status",
                   "activity/summary")),
    Row("POST", f"{PERFORMANCE}/optimize",                      "401 200 200 200 404 200 403 403 403",
        {"organization_id": "{organization}"}),
    Row("POST", f"{PERFORMANCE}/activity/track?organization_id={{organization}}",
                                                                "401 403 200 200 404 200 403 403 403",
        {"activity_type": "feature"}),
    Row("GET", f"{CONTROLLER}/overview",                        "401 200 200 200 200 200 403 403 403"),
    Row("GET", f"{CONTROLLER}/overview?organization_id={{organization}}",
                                                                "401 200 200 200 404 200 403 403 403"),
    *(Row("GET", f"{path}?organization_ids={{organization}}&metric_type={kind}&group_by={group}",
                                                                "401 200 200 200 404 200 403 403 403")
      for path, kind, group in ((f"{CONTROLLER}/performance", "availability", "orchestrator"),
                                ("/api/v1/analytics/performance", "error_rate", "organization"))),
    Row("GET", f"{CONTROLLER}/performance",                     "401 200 200 200 200 200 403 403 403"),
    Row("GET", f"{CONTROLLER}/insights",                        "401 200 200 200 200 200 403 403 403"),
    Row("GET", f"{CONTROLLER}/insights?organization_id={{organization}}",
                                                                "401 200 200 200 404 200 403 403 403"),
    Row("POST", f"{CONTROLLER}/query",                          "401 200 200 200 404 200 403 403 403",
        {"metrics": ["events", "messages", "cpu_usage_percent"], "group_by": ["day", "orchestrator"],
         "time_range": {"start": "2026-11-01", "end": "2026-11-30"}, "filters": {"organization": "{organization}"}}),
    Row("GET", f"{CONTROLLER}/costs",                           "401 200 200 200 200 200 403 403 403"),
    *(Row("GET", f"{CONTROLLER}/costs?{query}={{organization}}&group_by={group}&include_forecast=true",
                                                                "401 200 200 200 404 200 403 403 403")
      for query, group in (("organization_id", "api_key"), ("organization_ids", "model"))),
    Row("POST", f"{CONTROLLER}/orchestrators",                  "401 403 403 201 404 201 403 403 404",
        {"orchestrator_id": "edge-7", "organization_id": "{organization}", "name": "Edge"}, audit=1),
    Row("PUT", f"{CONTROLLER}/orchestrators/{{orchestrator}}", CHANGE, {"name": "Other"}, audit=1),
    Row("PATCH", f"{CONTROLLER}/orchestrators/{{orchestrator}}", CHANGE, {"name": "Other"}, audit=1),
    Row("GET", f"{CONTROLLER}/orchestrators/{{orchestrator}}/config/versions", MEMBERS),
    Row("GET", f"{CONTROLLER}/orchestrators/{{orchestrator}}/config/versions/1", MEMBERS),
    Row("POST", f"{CONTROLLER}/orchestrators/{{orchestrator}}/config/rollback", CHANGE, {"version": 1}, audit=1),
    Row("DELETE", f"{CONTROLLER}/orchestrators/{{idle}}",       "401 403 403 204 404 204 403 403 404", audit=1),
    Row("GET", f"{INTERNAL}/audit",                             "401 403 403 200 403/200 200 403 403 403"),
    Row("GET", f"{INTERNAL}/audit?organization_id={{organization}}",
                                                                "401 403 403 200 404 200 403 403 403"),
    Row("GET", f"{CONTROLLER}/orchestrators", LIST),
    Row("GET", f"{CONTROLLER}/orchestrators?organization_id={{organization}}", READ),
    Row("GET", f"{CONTROLLER}/orchestrators/live",              LIST),
    Row("GET", f"{CONTROLLER}/orchestrators/{{orchestrator}}", READ),
    Row("GET", f"{CONTROLLER}/orchestrators/{{neighbour}}",     "401 200 200 200 404 200 403 200 404"),
    Row("POST", f"{INTERNAL}/orchestrators/register", LIFE, REGISTRATION, audit=1),
    Row("POST", f"{INTERNAL}/orchestrators/register",           "401 403 403 200 404 200 403 200 404",
        REGISTRATION | {"orchestrator_id": "edge-9"}, audit=1),
    Row("POST", f"{INTERNAL}/orchestrators/heartbeat", LIFE, BEAT),
    Row("POST", f"{INTERNAL}/orchestrators/heartbeat",          "401 403 403 200 404 200 403 200 404",
        BEAT | {"orchestrator_id": "{neighbour}"}),
    Row("DELETE", f"{INTERNAL}/orchestrators/{{orchestrator}}/deregister", LIFE, audit=1),
    Row("PUT", f"{INTERNAL}/orchestrators/{{orchestrator}}/independence", CHANGE, FLAG, audit=1),
    Row("PUT", f"{INTERNAL}/organizations/{{organization}}/independence", CHANGE, FLAG, audit=1),
    Row("POST", f"{INTERNAL}/orchestrators/{{orchestrator}}/messages",
                                                                "401 403 202 202 404 202 403 403 404",
        {"message_type": "restart", "message_content": {"grace_seconds": 5}, "expires_in": 60}, audit=1),
    Row("GET", f"{INTERNAL}/messages",                          "401 200 200 200 200 200 403 403 403"),
    Row("GET", f"{INTERNAL}/messages?organization_id={{organization}}",
                                                                "401 200 200 200 404 200 403 403 403"),
    Row("PUT", f"{INTERNAL}/messages/{{message}}/status",       "401 403 200 200 404 200 403 403 404",
        {"status": "failed", "error": "nobody listens"}, audit=1),
    Row("PUT", f"{INTERNAL}/messages/{{settled}}/status",       "401 403 200 200 404 200 403 403 404",
        {"status": "pending"}, audit=1),
    Row("GET", "/api/v1/stream",                                "401 200 200 200 200 200 403 403 403"),
    Row("GET", "/api/v1/stream?organization_id={organization}", "401 200 200 200 404 200 403 403 404"),
    Row("GET", "/api/v1/stream/system/health",                  "401 200 200 200 200 200 403 403 403"),
    Row("GET", "/api/v1/stream/metrics/organization",           "401 200 200 200 200 200 403 403 403"),
    Row("GET", "/api/v1/stream/metrics/organization?organization_id={organization}&time_window=24h",
                                                                "401 200 200 200 404 200 403 403 404"),
    Row("POST", f"{INTERNAL}/bulk",                             "401 403 202 202 404 202 403 403 404",
        {"action": "message", "selector": {"organization_id": "{organization}"},
         "parameters": {"message_type": "restart"}}, audit=1),
    Row("POST", f"{INTERNAL}/bulk",                             "401 403 403 202 404 202 403 403 404",
        {"action": "labels", "selector": {"organization_id": "{organization}"},
         "parameters": {"set": {"env": "prod"}}}, audit=1),
    Row("GET", "/api/v1/system/channels",                       "401 200 200 200 200 200 403 403 403"),
    Row("GET", "/api/v1/system/channels?organization_id={organization}",
                                                                "401 200 200 200 404 200 403 403 403"),
    Row("POST", "/api/v1/system/channels",                      "401 403 403 201 404 201 403 403 404",
        {"organization_id": "{organization}", "kind": "webhook", "name": "ops", "url": PUBLIC}, audit=1),
    Row("POST", "/api/v1/system/channels",                      "401 403 403 403 403 201 403 403 403",
        {"kind": "webhook", "name": "all", "url": PUBLIC}, audit=1),
    Row("GET", "/api/v1/system/channels/{channel}", MEMBERS),
    Row("PATCH", "/api/v1/system/channels/{channel}", CHANGE, {"name": "Other"}, audit=1),
    Row("DELETE", "/api/v1/system/channels/{channel}",          "401 403 403 204 404 204 403 403 404", audit=1),
    Row("POST", "/api/v1/system/channels/{channel}/test", CHANGE, {}, audit=1),
    Row("GET", "/api/v1/system/channels/{channel}/deliveries", MEMBERS),
    Row("GET", f"{INTERNAL}/allowed-networks",                  "401 403 403 403 403 200 403 403 403"),
    Row("GET", f"{INTERNAL}/allowed-networks?organization_id={{organization}}",
                                                                "401 403 403 403 403 200 403 403 403"),
    Row("POST", f"{INTERNAL}/allowed-networks",                 "401 403 403 403 403 201 403 403 403",
        {"organization_id": "{organization}", "cidr": "10.3.0.0/16", "reason": "vLLM"}, audit=1),
    Row("DELETE", f"{INTERNAL}/allowed-networks/{{network}}",   "401 403 403 403 403 204 403 403 403", audit=1),
    Row("POST", f"{CONTROLLER}/export",                         "401 202 202 202 404 202 403 403 403",
        {"export_type": "csv", "metrics": ["cpu_usage_percent"], "filters": {"organization": "{organization}"},
         "time_range": {"start": "2026-01-01", "end": "2026-12-31"}}, audit=1),
    Row("GET", f"{CONTROLLER}/export/{{export}}", MEMBERS),
    Row("GET", f"{CONTROLLER}/export/{{export}}/download", MEMBERS),
    Row("GET", f"{INTERNAL}/jobs",                              "401 200 200 200 200 200 403 403 403"),
    Row("GET", f"{INTERNAL}/jobs?organization_id={{organization}}",
                                                                "401 200 200 200 404 200 403 403 403"),
    Row("GET", f"{INTERNAL}/jobs/{{job}}",                      "401 200 200 200 404 200 403 403 404"),
    Row("POST", f"{INTERNAL}/jobs/{{job}}/cancel",              "401 403 200 200 404 200 403 403 404", {}, audit=1),
    Row("GET", f"{OWN}/recommendations",                        "401 200 200 200 404 200 403 403 404"),
    Row("GET", f"{OWN}/recommendations/{{recommendation}}",     "401 200 200 200 404 200 403 403 404"),
    Row("POST", f"{OWN}/recommendations/{{recommendation}}/read",
                                                                "401 403 200 200 404 200 403 403 404", {}),
    Row("POST", f"{OWN}/recommendations/{{recommendation}}/dismiss",
                                                                "401 403 200 200 404 200 403 403 404", {}, audit=1),
    Row("POST", f"{OWN}/recommendations/{{recommendation}}/accept", CHANGE, {}, audit=1),
    Row("GET", f"{OWN}/api-keys",                               "401 200 200 200 404 200 403 403 404"),
    Row("POST", f"{OWN}/api-keys",                              "401 403 403 201 404 201 403 403 404",
        {"name": "ci", "role": "operator"}, audit=1),
    Row("DELETE", f"{OWN}/api-keys/{{key}}",                    "401 403 403 204 404 204 403 403 404", audit=1),
    Row("POST", f"{OWN}/api-keys/{{key}}/rotate", CHANGE, {"grace_seconds": 60}, audit=1),
    Row("GET", f"{OWN}/budget", MEMBERS),
    Row("PUT", f"{OWN}/budget", CHANGE,
        {"budget_usd": 12.5, "budget_window": "day", "by_model": [{"model": "gpt-4o", "max_parallel": 2}]}, audit=1),
    Row("GET", f"{OWN}/guardrails", MEMBERS),
    Row("PUT", f"{OWN}/guardrails", CHANGE,
        {"rules": [{"name": "plans", "kind": "deny", "words": ["moon shot"]}]}, audit=1),
    Row("GET", f"{OWN}/cache", MEMBERS),
    Row("PUT", f"{OWN}/cache", CHANGE, {"models": ["*"], "ttl_seconds": 60}, audit=1),
    Row("DELETE", f"{OWN}/cache/entries",                       "401 403 403 204 404 204 403 403 404", audit=1),
    Row("GET", f"{OWN}/llm-policy", MEMBERS),
    Row("PUT", f"{OWN}/llm-policy", CHANGE, {"keeps_content": True, "content_days": 7}, audit=1),
    Row("GET", f"{OWN}/llm/calls", MEMBERS),
    Row("GET", f"{OWN}/llm/calls/{{call}}", MEMBERS),
    Row("GET", f"{OWN}/llm/refusals", MEMBERS),
    Row("GET", f"{OWN}/prices", MEMBERS),
    Row("POST", f"{OWN}/prices",                                "401 403 403 201 404 201 403 403 404",
        {"model": "gpt-4o", "input_usd_per_million": 2, "output_usd_per_million": "8.5"}, audit=1),
    Row("GET", f"{OWN}/prices/{{price}}", MEMBERS),
    Row("PUT", f"{OWN}/prices/{{price}}", CHANGE,
        {"model": "gpt-4o", "input_usd_per_million": 2, "output_usd_per_million": 8}, audit=1),
    Row("DELETE", f"{OWN}/prices/{{price}}",                    "401 403 403 204 404 204 403 403 404", audit=1),
    Row("GET", "/api/v1/llm/prices",                            "401 403 403 403 403 200 403 403 403"),
    Row("POST", "/api/v1/llm/prices",                           "401 403 403 403 403 201 403 403 403",
        {"model": "gpt-4o", "input_usd_per_million": 2, "output_usd_per_million": 8}, audit=1),
    Row("GET", "/api/v1/llm/prices/{price_for_all}",            "401 403 403 403 403 200 403 403 403"),
    Row("PUT", "/api/v1/llm/prices/{price_for_all}",            "401 403 403 403 403 200 403 403 403",
        {"model": "gpt-4o-mini", "input_usd_per_million": 2, "output_usd_per_million": 8}, audit=1),
    Row("DELETE", "/api/v1/llm/prices/{price_for_all}",         "401 403 403 403 403 204 403 403 403", audit=1),
    Row("GET", f"{OWN}/users",                                  "401 200 200 200 404 200 403 403 404"),
    Row("POST", f"{OWN}/users",                                 "401 403 403 201 404 201 403 403 404",
        {"username": "vera", "email": "vera@example.com", "role": "viewer", "password": NEW_PASSWORD}, audit=1),
    Row("GET", f"{OWN}/users/{{user}}", CHANGE),
    Row("PUT", f"{OWN}/users/{{user}}", CHANGE, {"role": "operator", "email": "other@example.com"}, audit=1),
    Row("DELETE", f"{OWN}/users/{{user}}",                      "401 403 403 204 404 204 403 403 404", audit=1),
    Row("GET", f"{OWN}/config", READ),
    Row("PUT", f"{OWN}/config", CHANGE, {"config": {"features": {"beta": True}}, "comment": "try it"}, audit=1),
    Row("POST", f"{OWN}/config/validate", MEMBERS, {"config": {"features": 1}}),
    Row("GET", f"{OWN}/config/versions", MEMBERS),
    Row("GET", f"{OWN}/config/versions/1", MEMBERS),
    Row("POST", f"{OWN}/config/rollback", CHANGE, {"version": 1}, audit=1),
    Row("GET", f"{OWN}/config/rollouts", MEMBERS),
    Row("POST", f"{OWN}/config/rollouts",                       "401 403 403 201 404 201 403 403 404",
        {"config": {"llm": {"model": "fast"}}, "stages": [{"percent": 10}]}, audit=1),
    Row("GET", f"{OWN}/config/rollouts/{{rollout}}", MEMBERS),
    Row("POST", f"{OWN}/config/rollouts/{{rollout}}/pause", CHANGE, {"reason": "lunch"}, audit=1, rollout="running"),
    Row("POST", f"{OWN}/config/rollouts/{{rollout}}/pause",     "401 403 403 409 404 409 403 403 404", {}),
    Row("POST", f"{OWN}/config/rollouts/{{rollout}}/resume", CHANGE, {}, audit=1, rollout="paused"),
    Row("POST", f"{OWN}/config/rollouts/{{rollout}}/cancel", CHANGE, {}, audit=1, rollout="running"),
    Row("GET", f"{SYSTEM}/alerts",                              "401 200 200 200 200 200 403 403 403"),
    Row("GET", f"{SYSTEM}/alerts?organization_id={{organization}}",
                                                                "401 200 200 200 404 200 403 403 403"),
    Row("GET", f"{SYSTEM}/alerts/organization/{{organization}}", MEMBERS),
    Row("GET", f"{SYSTEM}/alerts/{{alert}}", MEMBERS),
    Row("POST", f"{SYSTEM}/alerts/{{alert}}/acknowledge", CHANGE, {"reason": "looking"}, audit=1),
    Row("POST", f"{SYSTEM}/alerts/{{alert}}/resolve", CHANGE, {}, audit=1),
    Row("GET", f"{SYSTEM}/alert-rules",                         "401 200 200 200 200 200 403 403 403"),
    Row("GET", f"{SYSTEM}/alert-rules?organization_id={{organization}}",
                                                                "401 200 200 200 404 200 403 403 403"),
    Row("POST", f"{SYSTEM}/alert-rules",                        "401 403 403 201 404 201 403 403 404",
        {"rule_key": "disk.error", "organization_id": "{organization}", "threshold": 80}, audit=1),
    Row("GET", f"{SYSTEM}/alert-rules/{{rule}}", MEMBERS),
    Row("PATCH", f"{SYSTEM}/alert-rules/{{rule}}", CHANGE, {"threshold": 60}, audit=1),
    Row("DELETE", f"{SYSTEM}/alert-rules/{{rule}}",             "401 403 403 204 404 204 403 403 404", audit=1),
    Row("GET", f"{SYSTEM}/silences",                            "401 200 200 200 200 200 403 403 403"),
    Row("GET", f"{SYSTEM}/silences?organization_id={{organization}}",
                                                                "401 200 200 200 404 200 403 403 403"),
    Row("POST", f"{SYSTEM}/silences",                           "401 403 403 201 404 201 403 403 404",
        {"organization_id": "{organization}", "orchestrator_id": "{orchestrator}", "ends_at": "2999-01-01T00:00:00Z"},
        audit=1),
    Row("GET", f"{SYSTEM}/silences/{{silence}}", MEMBERS),
    Row("DELETE", f"{SYSTEM}/silences/{{silence}}",             "401 403 403 204 404 204 403 403 404", audit=1),
    Row("GET", f"{OWN}/providers", CHANGE),
    Row("POST", f"{OWN}/providers",                             "401 403 403 201 404 201 403 403 404",
        {"name": "ours", "dialect": "openai", "base_url": PUBLIC, "api_key": "sk-0123456789abcdef"}, audit=1),
    Row("GET", f"{OWN}/providers/{{provider}}", CHANGE),
    Row("PUT", f"{OWN}/providers/{{provider}}", CHANGE, {"priority": 5}, audit=1),
    Row("PATCH", f"{OWN}/providers/{{provider}}", CHANGE, {"enabled": False}, audit=1),
    Row("DELETE", f"{OWN}/providers/{{provider}}",              "401 403 403 204 404 204 403 403 404", audit=1),
    Row("POST", f"{OWN}/providers/{{provider}}/test", CHANGE, {}, audit=1),
    Row("GET", f"{OWN}/aliases",                                "401 200 200 200 404 200 403 403 404"),
    Row("POST", f"{OWN}/aliases",                               "401 403 403 201 404 201 403 403 404",
        {"alias": "fast", "targets": [{"model": "openai/gpt-4o-mini"}]}, audit=1),
    Row("GET", f"{OWN}/aliases/{{alias}}",                      "401 200 200 200 404 200 403 403 404"),
    Row("PUT", f"{OWN}/aliases/{{alias}}", CHANGE, {"alias": "slow"}, audit=1),
    Row("PATCH", f"{OWN}/aliases/{{alias}}", CHANGE, {"targets": [{"model": "x/y", "weight": 2}]}, audit=1),
    Row("DELETE", f"{OWN}/aliases/{{alias}}",                   "401 403 403 204 404 204 403 403 404", audit=1),
    Row("GET", f"{OWN}/workflow-templates", MEMBERS),
    Row("POST", f"{OWN}/workflow-templates",                    "401 403 403 201 404 201 403 403 404",
        {"name": "vectors", "steps": [{"type": "embedding"}]}, audit=1),
    Row("GET", f"{OWN}/workflow-templates/{{template}}", MEMBERS),
    Row("PUT", f"{OWN}/workflow-templates/{{template}}", CHANGE,
        {"name": "vectors", "steps": [{"type": "embedding"}]}, audit=1),
    Row("PATCH", f"{OWN}/workflow-templates/{{template}}", CHANGE, {"description": "Other."}, audit=1),
    Row("DELETE", f"{OWN}/workflow-templates/{{template}}",     "401 403 403 204 404 204 403 403 404", audit=1),
    Row("GET", f"{LLM}/providers", ROOT),
    Row("POST", f"{LLM}/providers",                             "401 403 403 403 403 201 403 403 403",
        {"name": "all", "dialect": "anthropic", "api_key": "sk-0123456789abcdef"}, audit=1),
    Row("GET", f"{LLM}/providers/{{provider}}",                 "401 403 403 403 403 404 403 403 403"),
    Row("GET", f"{LLM}/providers/{{common_provider}}", ROOT),
    Row("PUT", f"{LLM}/providers/{{common_provider}}", ROOT, {"priority": 5}, audit=1),
    Row("PATCH", f"{LLM}/providers/{{common_provider}}", ROOT, {"enabled": False}, audit=1),
    Row("DELETE", f"{LLM}/providers/{{common_provider}}",       "401 403 403 403 403 204 403 403 403", audit=1),
    Row("POST", f"{LLM}/providers/{{common_provider}}/test", ROOT, {}, audit=1),
    Row("GET", f"{LLM}/aliases", ROOT),
    Row("POST", f"{LLM}/aliases",                               "401 403 403 403 403 201 403 403 403",
        {"alias": "fast", "targets": [{"model": "openai/gpt-4o-mini"}]}, audit=1),
    Row("GET", f"{LLM}/aliases/{{common_alias}}", ROOT),
    Row("PUT", f"{LLM}/aliases/{{common_alias}}", ROOT, {"alias": "slow"}, audit=1),
    Row("PATCH", f"{LLM}/aliases/{{common_alias}}", ROOT, {"targets": [{"model": "x/y"}]}, audit=1),
    Row("DELETE", f"{LLM}/aliases/{{common_alias}}",            "401 403 403 403 403 204 403 403 403", audit=1),
]  # fmt: skip
