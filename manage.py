#!/usr/bin/env python
"""Run a command of the controller: `./manage.py help` lists them."""

import os
import sys


def main() -> None:
    """Hand the command line to Django; what it writes is for its own user only."""
    os.umask(0o077)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "moolai.settings")
    from django.core.management import execute_from_command_line
    from django.db import DatabaseError

    from moolai import pipes

    try:
        pipes.run(lambda: execute_from_command_line(sys.argv))
    except DatabaseError as error:
        from moolai import no_database

        if not no_database.is_missing_table(error):
            raise
        no_database.discard_empty()
        sys.exit(no_database.tell())


if __name__ == "__main__":
    main()
