"""The page behind a link: it asks, and decides when it is sent. Nothing but POST changes anything.

What fetches links ahead of people only gets the question. A decision is recorded as “link sent to <channel>”.
"""

from typing import Any, Final

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from monitoring.approvals import links, telling
from monitoring.approvals.links import Link
from moolai.errors import AppError, Conflict, NotFound
from orchestrators.models import Approval
from orchestrators.work import approvals
from orgs import audit, counters, keys, rates

MAX_REASON: Final = 500
POLICY: Final = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
LIMITS: Final = {"POST": "APPROVALS"}
LATE: Final = "Nobody decided in time, and the task is cancelled."
GONE: Final = {
    Approval.Status.APPROVED: "It was approved",
    Approval.Status.REJECTED: "It was rejected",
    Approval.Status.EXPIRED: "Nobody decided in time, and the task was cancelled",
    Approval.Status.WITHDRAWN: "The task was cancelled",
}


@require_http_methods(["GET", "HEAD", "POST"])
def view(request: HttpRequest, token: str) -> HttpResponse:
    """Show the question (GET), or take the answer (POST): 404 for a link that is none, 410 for one that is over."""
    verdict = _count(request)
    if verdict.is_over:
        answer = _page(request, 429, heading="Too many calls", text="Wait a moment and open the link again.")
        answer["Retry-After"] = str(verdict.reset_seconds)
    else:
        answer = _answer(request, token)
    answer["X-RateLimit-Limit"], answer["X-RateLimit-Remaining"] = str(verdict.limit), str(verdict.remaining)
    answer["X-RateLimit-Reset"] = str(int(timezone.now().timestamp()) + verdict.reset_seconds)
    return answer


def _count(request: HttpRequest) -> rates.Verdict:
    address, kind = request.META.get("REMOTE_ADDR", ""), LIMITS.get(request.method or "", "API")
    verdict = rates.count(f"{__name__}.{kind}.{address}", rates.parse(settings.RATE_LIMITS[kind]))
    if verdict.is_over:
        counters.add("rate_limit.hit", address)
    return verdict


def _answer(request: HttpRequest, token: str) -> HttpResponse:
    try:
        link = links.read(token)
    except NotFound:
        counters.add("credential.refused", request.META.get("REMOTE_ADDR", ""))
        text = "The link is not complete, or the channel it was sent to takes no approvals any more."
        return _page(request, 404, heading="This link does not work", text=text)
    if link.approval.status != Approval.Status.PENDING:
        return _decided(request, link)
    if link.approval.is_overdue(now=timezone.now()):
        return _page(
            request, 410, heading="This has expired", text=LATE, console=telling.console(link.approval.task_id)
        )
    if link.is_over(now=timezone.now()):
        text = "Its time is over. The task still waits: decide in the console, or wait for the next message."
        return _page(
            request, 410, heading="This link has expired", text=text, console=telling.console(link.approval.task_id)
        )
    if links.is_withheld(link.approval):
        text = "Nobody approves their own tasks in this organization, and a link does not say who you are."
        return _page(
            request, 403, heading="Sign in to decide", text=text, console=telling.console(link.approval.task_id)
        )
    return _decide(request, link) if request.method == "POST" else _ask(request, link)


def _ask(request: HttpRequest, link: Link, *, status: int = 200, problem: str = "") -> HttpResponse:
    task = link.approval.task
    shown = {"link": link, "task": task, "creator": keys.named(task.created_by), "problem": problem}
    return _page(request, status, heading="Approve this task?", **shown)


def _decide(request: HttpRequest, link: Link) -> HttpResponse:
    verdict, reason = request.POST.get("decision", ""), request.POST.get("reason", "").strip()
    if verdict not in ("approve", "reject"):
        return _ask(request, link, status=400, problem="Choose one of the two buttons.")
    if len(reason) > MAX_REASON or "\0" in reason:
        return _ask(request, link, status=400, problem=f"Write at most {MAX_REASON} characters.")
    audit.attribute(link.holder)
    decide = approvals.approve if verdict == "approve" else approvals.reject
    try:
        row = decide(link.approval, acting_user=None, reason=reason)
    except Conflict:  # somebody was quicker
        link.approval.refresh_from_db()
        if link.approval.status != Approval.Status.PENDING:
            return _decided(request, link)
        return _page(
            request, 410, heading="This has expired", text=LATE, console=telling.console(link.approval.task_id)
        )
    except AppError as problem:
        return _page(request, problem.http_status, heading="This was not decided", text=problem.detail)
    heading = "The task is approved" if row.status == Approval.Status.APPROVED else "The task is rejected"
    text = f"Recorded as “{link.holder}”. The link is used up."
    return _page(request, 200, heading=heading, text=text, console=telling.console(link.approval.task_id))


def _decided(request: HttpRequest, link: Link) -> HttpResponse:
    row = link.approval
    who = f" by {keys.named(row.decided_by)}" if row.decided_by else ""
    when = f" on {row.decided_at:%Y-%m-%d at %H:%M} UTC" if row.decided_at else ""
    text = f"{GONE[Approval.Status(row.status)]}{who}{when}."
    return _page(
        request, 410, heading="This is decided already", text=text, console=telling.console(link.approval.task_id)
    )


def _page(request: HttpRequest, status: int, **context: Any) -> HttpResponse:
    text = render_to_string("approvals/decide.html", {"console": reverse("admin:index"), **context}, request=request)
    answer = HttpResponse(text, status=status)
    answer["Content-Security-Policy"] = POLICY
    answer["Cache-Control"] = "no-store"
    answer["X-Robots-Tag"] = "noindex"
    return answer
