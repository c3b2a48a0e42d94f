"""The databases of one PostgreSQL server, seen by its superuser."""

from typing import LiteralString

import psycopg
from psycopg import sql

APP_USER = "moolai"


class Databases:
    """Create, copy, drop and question databases by the superuser's URL."""

    def __init__(self, admin_url: str) -> None:
        """Take the superuser's URL of any database on the server."""
        self.admin_url = admin_url

    def create(self, name: str, *, template: str = "template1") -> None:
        """Create a database that the application's role owns, as a copy of `template` (nobody may be using that)."""
        statement = sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}")
        self._execute(statement.format(*map(sql.Identifier, (name, APP_USER, template))))

    def drop(self, name: str) -> None:
        """Drop a database if it is there, and throw its users out."""
        self._execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def create_role(self, name: str, *, password: str) -> None:
        """Create a role that may log in and create databases, and is no superuser; one that is there stays."""
        if not self.query("SELECT 1 FROM pg_roles WHERE rolname = %s", [name]):
            role = sql.SQL("CREATE ROLE {} LOGIN CREATEDB PASSWORD {}")
            self._execute(role.format(sql.Identifier(name), sql.Literal(password)))

    def has(self, name: str) -> bool:
        """Tell whether there is a database of that name."""
        return bool(self.query("SELECT 1 FROM pg_database WHERE datname = %s", [name]))

    def query(self, statement: LiteralString, parameters: list[object] | None = None) -> list[tuple[object, ...]]:
        """Run one statement as superuser, outside a transaction; return its rows."""
        return self._execute(sql.SQL(statement), parameters)

    def _execute(
        self, statement: sql.SQL | sql.Composed, parameters: list[object] | None = None
    ) -> list[tuple[object, ...]]:
        with psycopg.connect(self.admin_url, autocommit=True, connect_timeout=5) as connection:
            cursor = connection.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []
