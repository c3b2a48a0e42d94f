"""The one list of routes that change something and leave no audit row: the data plane, and signing in."""

from typing import Final

EXEMPT: Final = {
    ("POST", "/api/v1/internal/auth/login"): "a sign-in changes nothing of the fleet; failures are in the log",
    ("POST", "/api/v1/internal/auth/refresh"): "the same sign-in goes on",
    ("POST", "/api/v1/internal/auth/logout"): "a sign-in ends; its owner asked for it",
    ("POST", "/api/v1/orchestrators/{organization}/config/validate"): "checks a configuration, and changes nothing",
    ("POST", "/api/v1/system/collect/immediate"): "data plane: the host is measured",
    ("POST", "/api/v1/system/collect/organization/{organization}"): "data plane: the host is measured",
    ("POST", "/api/v1/controller/query"): "reads measurements, and changes nothing",
    ("POST", "/v1/performance/optimize"): "reads measurements, and changes nothing",
    ("POST", "/v1/performance/activity/track?organization_id={organization}"): "data plane: somebody did something",
    ("POST", "/tasks"): "data plane: the task and its timeline say who made it",
    ("POST", "/api/v1/orchestrators/{organization}/tasks"): "data plane: the task and its timeline say who made it",
    ("POST", "/api/v1/orchestrators/{organization}/prompts"): "data plane: the prompt and its call say who made them",
    ("PATCH", "/tasks/{task}/status?status=completed"): "data plane: the timeline says who did the work",
    ("POST", "/v1/ai-orchestration/workflows"): "data plane: the run says who asked for it",
    ("POST", "/v1/ai-orchestration/workflows/batch"): "data plane: the runs say who asked for them",
    ("POST", "/v1/ai-orchestration/workflows/optimize"): "reads measurements, and changes nothing",
    ("POST", "/events/publish"): "data plane: the event says whose it is",
    ("POST", "/api/v1/internal/orchestrators/heartbeat"): "data plane: an orchestrator is alive",
    (
        "POST",
        "/api/v1/orchestrators/{organization}/recommendations/{recommendation}/read",
    ): "somebody looked; the review and its event say who",
}
