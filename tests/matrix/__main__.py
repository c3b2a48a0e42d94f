"""`python -m tests.matrix`: how many cells the matrix has."""

import os
import sys

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "moolai.settings")
django.setup()

from tests.matrix import counts  # noqa: E402  # the routes need the apps

if __name__ == "__main__":
    sys.stdout.write("\n".join(counts.lines()) + "\n")
