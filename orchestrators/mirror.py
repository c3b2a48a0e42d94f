"""The two files that mirror independence for tools that read no database (API §4); the database is the truth."""

import fcntl
import json
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import DatabaseError, InterfaceError
from django.utils import timezone

from orchestrators.models import Instance
from orchestrators.protocol import iso
from orgs.models import Organization

logger = logging.getLogger(__name__)


def write() -> None:
    """Write both files atomically, under a lock, from a fresh read; what fails is logged and never fails a toggle."""
    try:
        with _lock(settings.INDEPENDENCE_JSON_FILE):
            document = _document()
            _replace(settings.INDEPENDENCE_JSON_FILE, json.dumps(document, indent=2, sort_keys=True) + "\n")
            _replace(settings.INDEPENDENCE_ENV_FILE, _lines(document))
    except (OSError, DatabaseError, InterfaceError):
        logger.exception("could not write the independence files; run manage.py sync_independence when that is mended")


def variable(orchestrator_id: str) -> str:
    """Return the environment variable that names an orchestrator: id upper-cased, `-` as `_`."""
    return f"ORCHESTRATOR_{orchestrator_id.upper().replace('-', '_')}_INDEPENDENT"


def is_wished(orchestrator_id: str) -> bool:
    """Whether the environment asks for an orchestrator to be independent from its first day on (API §4)."""
    return os.environ.get(variable(orchestrator_id), "").strip().lower() in ("1", "true", "yes", "on")


def _document() -> dict[str, Any]:
    instances = Instance.objects.present().values_list("orchestrator_id", "is_independent", "updated_at")
    organizations = Organization.objects.values_list("organization_id", "is_independent", "updated_at")
    now = timezone.now()

    def entries(rows: Any) -> dict[str, Any]:
        return {key: {"is_independent": flag, "updated_at": iso(moment or now)} for key, flag, moment in rows}

    return {"orchestrators": entries(instances), "organizations": entries(organizations)}


def _lines(document: dict[str, Any]) -> str:
    flags: dict[str, bool] = {}
    for orchestrator_id, entry in document["orchestrators"].items():
        name = variable(orchestrator_id)
        flags[name] = flags.get(name, False) or entry["is_independent"]
    return "".join(f"{name}={'true' if flag else 'false'}\n" for name, flag in sorted(flags.items()))


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(path.name + ".lock"), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _replace(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
