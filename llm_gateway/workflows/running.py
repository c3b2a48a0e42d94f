"""Running: a run in a worker. Steps that nothing holds back run side by side; what failed leaves the others' results.

A worker that is killed leaves what its finished steps came to: whoever takes the task next goes on from there.
"""

import logging
import threading
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, Final

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connections, transaction
from django.utils import timezone

from llm_gateway.models import WorkflowRun, WorkflowStep
from llm_gateway.plane.inside import Asker
from llm_gateway.workflows import asking, contents, doing, models, plans, runs
from llm_gateway.workflows.asking import Desk, StepFailed, Stopped
from llm_gateway.workflows.kinds import EMBEDDING, HYBRID, KINDS
from llm_gateway.workflows.plans import Plan, Step
from orchestrators.models import Task
from orchestrators.work.handlers import Again, Lost, Refused, Report

logger = logging.getLogger(__name__)
PARALLEL: Final = 4
LOOK_SECONDS: Final = 1.0
Status = WorkflowStep.Status


def run(task: Task, report: Report) -> dict[str, Any]:
    """Do the run of a task (`orchestrators.work.handlers.Handler`)."""
    row = WorkflowRun.objects.select_related("organization").filter(task=task).first()
    if row is None:
        raise Refused("There is no such run any more.")
    if row.status == WorkflowRun.Status.FAILED:  # ended by a worker that was killed before it could tell
        raise Refused(row.error)
    if row.is_over:
        return {"workflow_id": row.workflow_id, "status": row.status}
    document = contents.read(row, contents.INPUT, now=timezone.now())
    if document is None:
        runs.end(row, WorkflowRun.Status.FAILED, now=timezone.now(), error="what it was given cannot be read any more")
        raise Refused(row.error)
    WorkflowRun.objects.filter(pk=row.pk, status="queued").update(status="running", started_at=timezone.now())
    return Execution(row, document, task, report).go()


class Execution:
    """One worker's work on a run."""

    def __init__(self, row: WorkflowRun, document: dict[str, Any], task: Task, report: Report) -> None:
        self.row, self.task, self.report = row, task, report
        self.plan: Plan = document["plan"]
        self.data: dict[str, Any] = document["input"]
        self.asker = Asker(row.organization_id, row.creator, document.get("name", ""), row.orchestrator_id)
        self.headers = {runs.CACHE: "off"} if document.get("is_fresh") else {}
        self.steps = {step.name: step for step in row.steps.all()}
        self.stop = threading.Event()
        self.outputs: dict[str, Any] = {}
        self.errors: dict[str, StepFailed] = {}
        for step in self.steps.values():
            self._recall(step)

    def go(self) -> dict[str, Any]:
        """Run what is left, settle, and return what the task is to say; raises Lost, Refused and Again."""
        try:
            self._work()
        except Lost:
            self.stop.set()
            raise
        self._try_again()
        status, result = self._result()
        with transaction.atomic():
            self._hold()
            runs.end(self.row, status, now=timezone.now(), error=self._error(), result=result)
        if status == WorkflowRun.Status.FAILED:
            hopeful = any(failure.is_transient for failure in self.errors.values())
            raise (Again if hopeful else Refused)(self._error())  # with its attempts used up the task is dead
        return {"workflow_id": self.row.workflow_id, "status": status}

    def _recall(self, step: WorkflowStep) -> None:
        """Take what a step came to in an earlier attempt; what may do better, or cannot be read, is done again."""
        if step.status == Status.COMPLETED:
            self.outputs[step.name] = contents.read(self.row, contents.of_step(step.name), now=timezone.now())
            is_settled = self.outputs[step.name] is not None
        elif step.status == Status.FAILED:
            code, _, text = step.error.partition(": ")
            self.errors[step.name] = StepFailed(code, text)
            is_settled = not self.errors[step.name].is_transient
        else:
            is_settled = not step.error  # skipped for what it needs, which may come about now
        if not is_settled:
            self.outputs.pop(step.name, None)
            self.errors.pop(step.name, None)
            step.status, step.error = Status.PENDING, ""

    # --- side by side -----------------------------------------------------------------------------------------------

    def _work(self) -> None:
        running: dict[Future[Any], Step] = {}
        with ThreadPoolExecutor(PARALLEL, "workflow-step") as pool:
            try:
                while self._start(pool, running) or running:
                    done, _ = wait(running, timeout=LOOK_SECONDS, return_when=FIRST_COMPLETED)
                    for future in done:
                        self._settle(running.pop(future), future)
                    self._tell()
            except BaseException:
                self.stop.set()
                raise

    def _tell(self) -> None:
        """Report how far the run is; where the database does not answer, the next time will do."""
        try:
            self.report(self._progress())
        except (DatabaseError, InterfaceError) as error:
            logger.warning("how far run %s is could not be stored: %s", self.row.workflow_id, error)
            connections.close_all()

    def _start(self, pool: ThreadPoolExecutor, running: dict[Future[Any], Step]) -> bool:
        """Begin the steps that are due; return whether any was."""
        begun = False
        for step in self.plan:
            row = self.steps[step["name"]]
            if row.is_over or step in running.values() or not self._is_due(step):
                continue
            if lacking := [name for name in step["after"] if name not in self.outputs]:
                self._end(row, Status.SKIPPED, error=f"needs {lacking[0]}, which has no result")
                begun = True
                continue
            running[pool.submit(self._do, step, row)] = step
            begun = True
        return begun

    def _is_due(self, step: Step) -> bool:
        return all(self.steps[name].is_over for name in step["after"])

    def _do(self, step: Step, row: WorkflowStep) -> Any:
        """Do one step, in its thread."""
        try:
            if self.stop.is_set():
                raise Stopped
            row.status, row.started_at, row.progress = Status.RUNNING, timezone.now(), 0
            with transaction.atomic():
                self._hold()
                row.save(update_fields=["status", "started_at", "progress"])
            model, headers = self._model(step), self.headers
            desk = Desk(row, self.asker, model, self.stop, lambda percent: self._note(row, percent), headers)
            return doing.do(desk, step, self.data, dict(self.outputs), wanted=self._wanted(step))
        finally:
            connections.close_all()

    def _model(self, step: Step) -> str:
        is_embedding = step["type"] == EMBEDDING
        named = step.get("model") or ("" if self._has_kinds(step) else self.data.get("model"))
        found = named or models.default(self.row.organization_id, is_embedding=is_embedding)
        if not found:
            raise StepFailed("provider_not_configured", "no model is set up for this step, and none was named")
        return str(found)

    def _has_kinds(self, step: Step) -> bool:
        """Whether the run's model is for other steps than this: one model cannot both talk and embed."""
        return step["type"] == EMBEDDING and any(other["type"] != EMBEDDING for other in self.plan)

    def _wanted(self, step: Step) -> list[str]:
        is_own = self.row.workflow_type in KINDS and self.row.workflow_type != HYBRID
        return list(self.row.expected_outputs) if is_own else []

    def _note(self, row: WorkflowStep, percent: int) -> None:
        row.progress = percent
        WorkflowStep.objects.filter(pk=row.pk, status=Status.RUNNING).update(progress=percent)

    # --- settling ---------------------------------------------------------------------------------------------------

    def _settle(self, step: Step, future: "Future[Any]") -> None:
        row = self.steps[step["name"]]
        try:
            output = future.result()
        except StepFailed as failure:
            self.errors[row.name] = failure
            self._end(row, Status.FAILED, error=str(failure))
            return
        except Stopped:
            return
        except Exception as error:
            self.errors[row.name] = asking.failure(error)
            self._end(row, Status.FAILED, error=str(self.errors[row.name]))
            return
        self.outputs[row.name] = output
        self._end(row, Status.COMPLETED, output=output)

    def _hold(self) -> None:
        """Lock the task, in the running transaction; raises Lost where it is over or in other hands.

        A worker that stood still while another took its task over changes nothing of the run any more.
        """
        mine = Task.objects.filter(pk=self.task.pk, status=Task.Status.IN_PROGRESS, lease=self.task.lease)
        if mine.select_for_update(of=("self",), no_key=True).only("pk").first() is None:
            raise Lost

    @transaction.atomic
    def _end(self, row: WorkflowStep, status: str, *, error: str = "", output: Any = None) -> None:
        self._hold()
        if status == Status.COMPLETED:
            contents.keep_open(self.row, contents.of_step(row.name), output, now=timezone.now())
            contents.forget_parts(self.row, row.name)
        row.status, row.error, row.completed_at = Status(status), error[:300], timezone.now()
        row.progress = 100 if status == Status.COMPLETED else row.progress
        row.save(update_fields=["status", "error", "completed_at", "progress"])

    def _progress(self) -> int:
        shown = [step for step in self.steps.values() if step.status != Status.SKIPPED]
        percent = sum(map(self._share, shown)) // max(1, len(shown))
        WorkflowRun.objects.filter(pk=self.row.pk, status="running").update(progress=percent)
        return percent

    def _share(self, step: WorkflowStep) -> int:
        """Return how far a step is; one that is to be tried again has nothing."""
        failure = self.errors.get(step.name)
        if failure is not None and failure.is_transient and self.task.attempts < settings.TASK_MAX_ATTEMPTS:
            return 0
        return 100 if step.is_over else step.progress

    def _try_again(self) -> None:
        """Have the steps that may do better another time run once more, while the task has attempts left."""
        names = [name for name, failure in self.errors.items() if failure.is_transient]
        if not names or self.task.attempts >= settings.TASK_MAX_ATTEMPTS:
            return
        wanted = plans.wanted(self.plan, self.row.expected_outputs, kind=self.row.workflow_type)
        waiting = plans.following(self.plan, names) & plans.needed(self.plan, wanted)
        rows = WorkflowStep.objects.filter(run=self.row, name__in=waiting).exclude(status=Status.COMPLETED)
        with transaction.atomic():
            self._hold()
            rows.update(status=Status.PENDING, completed_at=None)
        raise Again(f"{names[0]}: {self.errors[names[0]]}")

    def _result(self) -> tuple[str, Any]:
        """Return how the run ended, and its result: of one step what it came to, else by the steps' names."""
        wanted = plans.wanted(self.plan, self.row.expected_outputs, kind=self.row.workflow_type)
        found = {name: self.outputs[name] for name in wanted if name in self.outputs}
        if not found:
            return WorkflowRun.Status.FAILED, None
        status = WorkflowRun.Status.COMPLETED if len(found) == len(wanted) else WorkflowRun.Status.PARTIAL
        is_one = self.row.workflow_type in KINDS and self.row.workflow_type != HYBRID
        return status, next(iter(found.values())) if is_one else found

    def _error(self) -> str:
        return "; ".join(f"{name}: {failure}" for name, failure in self.errors.items())[:300]
