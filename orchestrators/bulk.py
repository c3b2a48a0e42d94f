"""Bulk actions: one wish for many orchestrators, done by a job in pieces of CHUNK rows.

One audit row per organization concerned, when the wish is made: it names selector, parameters and count; the rows that
follow are in the job and in their events. Rows are done in the order of their keys, each once; those that come to match
the selector behind the job's position are left out, those that do not match any more when it gets there, too.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Count, Max, QuerySet
from django.utils import timezone

from moolai.errors import InvalidInput
from orchestrators import independence, instances, jobs, labels, selection
from orchestrators.configuration import overrides
from orchestrators.jobs import Piece
from orchestrators.messages import batches, outbox
from orchestrators.models import Instance, Job
from orgs import audit
from orgs.models import Role, User

CHUNK: Final = 1000
SHOWN_IDS: Final = 20
MAX_EXPIRES_IN: Final = 31_536_000
MAX_COMMENT: Final = 500
MAX_PATCH_BYTES: Final = 32 * 1024  # it stands in the job's row and in an audit row of each organization
Problem = dict[str, str]


@dataclass(frozen=True, slots=True)
class Action:
    """What can be done to many: `check` refuses bad parameters, `apply` does a piece and returns what went wrong."""

    role: str
    check: Callable[[dict[str, Any]], None]
    apply: Callable[[Job, Sequence[Instance]], list[Problem]]


@transaction.atomic
def start(
    action: str,
    *,
    selector: Any,
    parameters: dict[str, Any],
    acting_user: User | None,
    organization_id: str = "",
    rows: QuerySet[Instance] | None = None,
) -> Job:
    """Post the job of a bulk action and return it.

    `organization_id` is the scope (empty: every organization). `rows` are the orchestrators themselves, where the
    caller chose them otherwise; `selector` is then only shown. Raises `invalid_field`, `reserved_message_type`.
    """
    if action not in ACTIONS:
        raise InvalidInput(fields={"action": f"is one of {', '.join(ACTIONS)}"})
    ACTIONS[action].check(parameters)
    problems: list[Problem] = []
    if rows is None:
        selector = selection.read(selector)
        scope = _scope(organization_id)
        rows, problems = selection.rows(selector, scope), _unknown(selector, scope)
    found = rows.order_by()
    counts = dict(found.values_list("organization_id").annotate(count=Count("pk")))
    if len(counts) == 1 and not problems:  # then it is that organization's, whoever asked for it
        organization_id = next(iter(counts))
    is_chosen = "orchestrator_ids" in selector
    request = {"action": action, "selector": _brief(selector), "parameters": parameters}
    job = jobs.post(
        f"bulk.{action}",
        request=request,
        acting_user=acting_user,
        organization_id=organization_id,
        total=sum(counts.values()) + len(problems),
        last=found.aggregate(last=Max("pk"))["last"] or 0,
        targets=sorted(found.values_list("pk", flat=True)) if is_chosen else None,
        problems=problems,
    )
    named = _named(found) if is_chosen and not organization_id else {}
    _audit(job, counts or {organization_id: 0}, named=named, acting_user=acting_user)
    return job


def _scope(organization_id: str) -> QuerySet[Instance]:
    rows: QuerySet[Instance] = Instance.objects.present()
    return rows.filter(organization_id=organization_id) if organization_id else rows


def _unknown(selector: Mapping[str, Any], scope: QuerySet[Instance]) -> list[Problem]:
    """Return a problem for each id that names nothing in the scope: a foreign one is as absent as a missing one."""
    wanted = selector.get("orchestrator_ids", [])
    known = set(scope.filter(orchestrator_id__in=wanted).values_list("orchestrator_id", flat=True)) if wanted else set()
    return [_problem(name, "There is no such orchestrator.") for name in dict.fromkeys(wanted) if name not in known]


def _problem(orchestrator_id: str, error: str) -> Problem:
    return {"orchestrator_id": orchestrator_id, "error": error}


def _brief(selector: Mapping[str, Any]) -> dict[str, Any]:
    """Return the selector as rows show it: of many ids the first."""
    ids = selector.get("orchestrator_ids", [])
    if len(ids) <= SHOWN_IDS:
        return dict(selector)
    return {**selector, "orchestrator_ids": ids[:SHOWN_IDS], "more": len(ids) - SHOWN_IDS}


def _named(rows: QuerySet[Instance]) -> dict[str, list[str]]:
    """Return the ids of each organization: its own are all that it may read of those that were chosen with them."""
    found: dict[str, list[str]] = defaultdict(list)
    for organization_id, orchestrator_id in rows.order_by("pk").values_list("organization_id", "orchestrator_id"):
        found[organization_id].append(orchestrator_id)
    return found


def _audit(job: Job, counts: Mapping[str, int], *, named: Mapping[str, list[str]], acting_user: User | None) -> None:
    parameters = {name: value for name, value in job.request["parameters"].items() if name != "message_content"}
    for organization_id, count in sorted(counts.items()):
        selector = job.request["selector"]
        if organization_id in named:
            others = {name: value for name, value in selector.items() if name != "more"}
            selector = _brief({**others, "orchestrator_ids": named[organization_id]})
        audit.record(
            job.kind,
            acting_user=acting_user,
            organization_id=organization_id,
            target=("job", job.job_id),
            after={"selector": selector, "parameters": parameters, "orchestrators": count},
            reason=str(parameters.get("reason") or parameters.get("comment", "")),
        )


# --- doing it -------------------------------------------------------------------------------------------------------


def work(job: Job) -> Piece:
    """Do the next CHUNK rows of a job."""
    rows, position, is_last = _next(job)
    problems = ACTIONS[job.request["action"]].apply(job, rows)
    gone = 0
    if job.targets is not None:
        gone = len([pk for pk in job.targets if job.position < pk <= position]) - len(rows)
        problems += [_problem("", "It was deleted meanwhile.")] * gone
    return Piece(position, len(rows) + gone - len(problems), problems, is_last)


def _next(job: Job) -> tuple[list[Instance], int, bool]:
    """Return the next rows, the position behind them, and whether they are the last."""
    scope = _scope(job.organization_id).order_by("pk")
    if job.targets is not None:
        pks = [pk for pk in job.targets if pk > job.position]
        rows = list(scope.filter(pk__in=pks[:CHUNK]))
        return rows, pks[:CHUNK][-1] if pks else job.last, len(pks) <= CHUNK
    behind = scope.filter(pk__gt=job.position, pk__lte=job.last)
    rows = list(selection.rows(job.request["selector"], behind)[:CHUNK])
    return rows, rows[-1].pk if rows else job.last, len(rows) < CHUNK


def _send(job: Job, rows: Sequence[Instance]) -> list[Problem]:
    wish = job.request["parameters"]
    expires_in = wish.get("expires_in")
    batches.queue_many(
        rows,
        prefix=job.job_id,
        message_type=wish["message_type"],
        content=wish.get("message_content", {}),
        acting_user=job.created_by,
        expires_at=job.created_at + timedelta(seconds=expires_in) if expires_in is not None else None,
    )
    return []


def _toggle(job: Job, rows: Sequence[Instance]) -> list[Problem]:
    wanted = job.request["parameters"]["is_independent"]
    independence.set_many([row.pk for row in rows], is_independent=wanted, acting_user=job.created_by)
    return []


def _label(job: Job, rows: Sequence[Instance]) -> list[Problem]:
    wish = job.request["parameters"]
    wanted, removed = wish.get("set", {}), wish.get("remove", [])
    locked = Instance.objects.filter(pk__in=[row.pk for row in rows]).select_for_update(no_key=True).order_by("pk")
    problems, changed = [], []
    for row in list(locked):
        after = {name: text for name, text in row.labels.items() if name not in removed} | wanted
        if len(after) > labels.MAX_LABELS:
            problems.append(_problem(row.orchestrator_id, f"It would have more than {labels.MAX_LABELS} labels."))
        elif after != row.labels:
            changed.append(row.pk)
    patched = selection.patched_labels(wanted, removed)
    Instance.objects.filter(pk__in=changed).update(labels=patched, updated_at=timezone.now())
    return problems


def _configure(job: Job, rows: Sequence[Instance]) -> list[Problem]:
    wish = job.request["parameters"]
    refused = instances.override_many(
        [row.pk for row in rows],
        patch=wish.get("patch"),
        acting_user=job.created_by,
        comment=wish.get("comment") or f"bulk action {job.job_id}",
    )
    return [_problem(orchestrator_id, problem) for orchestrator_id, problem in refused]


# --- parameters -----------------------------------------------------------------------------------------------------


def _refuse_unknown(parameters: Mapping[str, Any], *known: str) -> None:
    if unknown := [name for name in parameters if name not in known]:
        raise InvalidInput(fields={f"parameters.{name}": f"is unknown; known: {', '.join(known)}" for name in unknown})


def _check_message(parameters: dict[str, Any]) -> None:
    _refuse_unknown(parameters, "message_type", "message_content", "expires_in")
    kind, expires_in = parameters.get("message_type"), parameters.get("expires_in")
    if not isinstance(kind, str):
        raise InvalidInput(fields={"parameters.message_type": "is a text"})
    is_number = isinstance(expires_in, int | float) and not isinstance(expires_in, bool)
    if "expires_in" in parameters and not (is_number and 1 <= float(expires_in or 0) <= MAX_EXPIRES_IN):
        raise InvalidInput(fields={"parameters.expires_in": f"is a number of seconds, 1 to {MAX_EXPIRES_IN}"})
    outbox.check(kind, parameters.get("message_content", {}))


def _check_flag(parameters: dict[str, Any]) -> None:
    _refuse_unknown(parameters, "is_independent", "reason")
    if not isinstance(parameters.get("is_independent"), bool):
        raise InvalidInput(fields={"parameters.is_independent": "is true or false"})
    reason = parameters.get("reason", "")
    if not isinstance(reason, str) or len(reason) > 500:
        raise InvalidInput(fields={"parameters.reason": "is a text of at most 500 characters"})


def _check_labels(parameters: dict[str, Any]) -> None:
    _refuse_unknown(parameters, "set", "remove")
    wanted, removed = parameters.get("set", {}), parameters.get("remove", [])
    place = "parameters.set"
    try:
        labels.validate(wanted)
        place = "parameters.remove"
        if not isinstance(removed, list) or len(removed) > labels.MAX_LABELS:
            raise ValidationError(f"is a list of at most {labels.MAX_LABELS} names")
        for name in removed:
            labels.validate_name(name)
    except ValidationError as error:
        raise InvalidInput(fields={place: " ".join(error.messages)}) from None
    if not wanted and not removed:
        raise InvalidInput(fields={"parameters": "Name labels to set, or to remove."})


def _check_configuration(parameters: dict[str, Any]) -> None:
    _refuse_unknown(parameters, "patch", "clear", "comment")
    comment = parameters.get("comment", "")
    if not isinstance(comment, str) or len(comment) > MAX_COMMENT:
        raise InvalidInput(fields={"parameters.comment": f"is a text of at most {MAX_COMMENT} characters"})
    if ("patch" in parameters) == ("clear" in parameters):
        raise InvalidInput(fields={"parameters": "Send either patch, or clear."})
    if "clear" in parameters and parameters["clear"] is not True:
        raise InvalidInput(fields={"parameters.clear": "is true, where it is there"})
    is_patch = "patch" in parameters
    if is_patch and (wrong := overrides.patch_problems(parameters["patch"], max_bytes=MAX_PATCH_BYTES)):
        paths = {f"parameters.patch.{path}".rstrip("."): problem for path, problem in wrong.items()}
        raise InvalidInput(fields=paths)


ACTIONS: Final[dict[str, Action]] = {
    "message": Action(Role.OPERATOR, _check_message, _send),
    "independence": Action(Role.ADMIN, _check_flag, _toggle),
    "labels": Action(Role.ADMIN, _check_labels, _label),
    "configuration": Action(Role.ADMIN, _check_configuration, _configure),
}
HANDLERS: Final = {f"bulk.{name}": work for name in ACTIONS}
