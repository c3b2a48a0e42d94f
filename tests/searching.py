"""Every place where a call's content could stay, read out whole, to be searched for it."""

import base64
import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from http.cookiejar import CookieJar
from typing import Any

import redis
from django.db import connection

from llm_gateway.tests.collector import Collector
from llm_gateway.tests.stage import Stage
from moolai.testing.redis import Redis
from orgs import sealed

LINK = re.compile(r'href="(/admin/[^"#?]*)"')
ROWS = 30
FIELD = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')


def tables() -> str:
    """Return every column of every row of every table, as the database has it."""
    parts = []
    with connection.cursor() as cursor:
        for table in sorted(connection.introspection.table_names(cursor)):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
            parts += [f"--- {table}", *(repr(row) for row in cursor.fetchall())]
    return "\n".join(parts)


def sealed_columns() -> str:
    """Return every sealed value, opened."""
    return "\n".join(
        f"{model._meta.db_table}.{name}: {sealed.read(row, name)}"
        for model in sealed.models_with_secrets()
        for row in model._default_manager.all()
        for name in sealed.columns(model)
    )


def files(stage: Stage) -> str:
    """Return every file in DATA_DIR, the journals among them."""
    found = [path for path in stage.live.installation.data_dir.rglob("*") if path.is_file()]
    return "\n".join(f"--- {path.name}\n{path.read_bytes().decode('latin-1')}" for path in found)


def stored_in(server: Redis, *, password: str) -> str:
    """Return every key of a Redis with its value, and what is base64 in it written out."""
    client: Any = redis.Redis(port=server.port, password=password or None)
    with client:
        found = b"\n".join(part for key in client.scan_iter() for part in (key, _value(client, key)))
    packed = re.findall(rb"[A-Za-z0-9+/]{12,}", found)
    texts = [base64.b64decode(text[: len(text) // 4 * 4]) for text in packed]
    return b"\n".join([found, *texts]).decode("latin-1")


def _value(client: Any, key: bytes) -> bytes:
    """Return what is under a key, whatever its type; DUMP would compress it."""
    kind = client.type(key).decode()
    read: dict[str, Callable[[], Any]] = {
        "string": lambda: [client.get(key)],
        "hash": lambda: [part for pair in client.hgetall(key).items() for part in pair],
        "list": lambda: client.lrange(key, 0, -1),
        "set": lambda: client.smembers(key),
        "zset": lambda: client.zrange(key, 0, -1),
        "stream": lambda: [part for _, fields in client.xrange(key) for pair in fields.items() for part in pair],
        "none": list,
    }
    return b"\n".join(part for part in read[kind]() if part is not None)


def traces(collector: Collector) -> str:
    """Return every span, decoded and as it was sent."""
    return "\n".join([*map(str, collector.spans), *(raw.decode("latin-1") for raw in collector.raw)])


def _links(text: str) -> list[str]:
    """Return where a page of the console leads, each once, in its order."""
    return [link for link in dict.fromkeys(LINK.findall(text)) if "logout" not in link]


class Reader:
    """The superadmin, over the API and in the console."""

    def __init__(self, stage: Stage, *, token: str, password: str) -> None:
        self.stage, self.token = stage, token
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
        self._sign_in(password)

    def api(self, *paths: str) -> str:
        """Return the answers at these paths."""
        texts = []
        for path in paths:
            status, body, headers = self.stage.call(path, key=self.token, method="GET")
            texts.append(f"--- {path} {status} {headers}\n{body if isinstance(body, str) else json.dumps(body)}")
        return "\n".join(texts)

    def console(self) -> str:
        """Return every page that the console's index links to, and rows that the gateway's lists link to."""
        pages = {"/admin/": self._get("/admin/")}
        for link in _links(pages["/admin/"]):
            pages[link] = self._get(link)
        lists = [text for page, text in pages.items() if "llm_gateway" in page]
        for link in [link for text in lists for link in _links(text) if "/change/" in link][:ROWS]:
            pages[link] = self._get(link)
        return "\n".join(f"--- {link}\n{text}" for link, text in pages.items())

    def _sign_in(self, password: str) -> None:
        token = FIELD.search(self._get("/admin/login/"))
        assert token is not None
        form = f"username=root&password={password}&csrfmiddlewaretoken={token[1]}&next=/admin/"
        url = self.stage.url + "/admin/login/"
        call = urllib.request.Request(url, data=form.encode(), headers={"Referer": url, "Origin": self.stage.url})
        assert "/admin/login/" not in self.opener.open(call, timeout=20).geturl()

    def _get(self, path: str) -> str:
        try:
            with self.opener.open(self.stage.url + path, timeout=20) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                return str(error.read().decode())
