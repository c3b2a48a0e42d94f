"""What is large is loaded by what uses it alone: Parquet and Excel by the job that writes such a file."""

import subprocess
import sys

import pytest

from moolai import memory

pytestmark = pytest.mark.once
LOADED = """
import sys
import django
django.setup()
import {module}
from django.urls import resolve
{more}
print(sorted(name for name in {unused} if name in sys.modules))
"""
UNUSED = [
    "pyarrow",
    "xlsxwriter",
    "openpyxl",
    "opentelemetry",
    *(name for found in memory.UNUSED.values() for name in found),
]
DOORS = "resolve('/api/v1/controller/export')\nresolve('/admin/monitoring/systemmetric/export/')"


@pytest.mark.parametrize(("module", "more"), [("moolai.asgi", DOORS), ("moolai.celery", "import monitoring.tasks")])
def test_neither_web_nor_worker_begins_with_them(module: str, more: str) -> None:
    code = LOADED.format(module=module, more=more, unused=UNUSED)
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "[]"
