"""Parts: what the calls of a long step were answered, kept until the step is done: another attempt asks for the rest.

An answer counts for what was asked, not for its number alone: where a step asks for something else now, of another
model or in other batches, it is asked anew.
"""

import hashlib
import logging
from collections.abc import Callable
from typing import Any, TypeVar

import orjson
from django.db import DatabaseError, InterfaceError, connections
from django.utils import timezone

from llm_gateway.models import WorkflowStep
from llm_gateway.workflows import contents

logger = logging.getLogger(__name__)
T = TypeVar("T")


def answered(step: WorkflowStep, number: int, *, asked: Any, ask: Callable[[], T]) -> T:
    """Return what a part of a step was answered in an earlier attempt, else `ask` and keep the answer.

    `asked` is all that the answer depends on, as JSON. An answer that cannot be kept is paid for, and counts all the
    same.
    """
    name, mark = contents.of_part(step.name, number), hashlib.sha256(orjson.dumps(asked)).hexdigest()
    kept = contents.read(step.run, name, now=timezone.now())
    if isinstance(kept, dict) and kept.get("asked") == mark:
        found: T = kept["answer"]
        return found
    answer = ask()
    try:
        contents.keep_open(step.run, name, {"asked": mark, "answer": answer}, now=timezone.now())
    except (DatabaseError, InterfaceError) as error:
        logger.warning("part %d of step %s of run %s could not be kept: %s", number, step.name, step.run_id, error)
        connections.close_all()
    return answer
