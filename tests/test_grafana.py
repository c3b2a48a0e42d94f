"""The dashboards and rules in deploy/: they parse, and whatever they ask for is there in `/metrics`."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.test import Client

from monitoring.tests import scrape
from moolai.testing import promtool
from moolai.testing.product import PROJECT
from orgs.tests import cast

pytestmark = pytest.mark.once
BOARDS = sorted((PROJECT / "deploy" / "grafana").glob("*.json"))
RULES = PROJECT / "deploy" / "prometheus" / "moolai.rules.yml"
CONFIG = PROJECT / "deploy" / "prometheus" / "prometheus.yml"
SELECTED = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"')
GROUPED = re.compile(r"\bby \(([^)]*)\)")


def board(path: Path) -> dict[str, Any]:
    """Return a dashboard."""
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def expressions() -> list[tuple[str, str]]:
    """Return (where, PromQL) of every panel and every rule."""
    panels = [
        (f"{path.stem}: {panel['title']}", target["expr"])
        for path in BOARDS
        for panel in board(path)["panels"]
        for target in panel["targets"]
    ]
    rules = [
        (rule["alert"], rule["expr"])
        for group in yaml.safe_load(RULES.read_text())["groups"]
        for rule in group["rules"]
    ]
    return panels + rules


@pytest.fixture
def offered(db: None, settings: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """{name: labels} of every series of a scrape in which everything has a value."""
    settings.DEFAULT_ORGANIZATION_ID = "org-001"
    cast.make(settings)
    scrape.counted(monkeypatch)
    scrape.fill(scrape.now(), organization_id="org-001")
    return scrape.labels(Client().get(scrape.PATH).content.decode()) | {"up": {"job", "instance"}}


def test_there_are_dashboards_for_the_fleet_the_api_the_gateway_tasks_and_the_system() -> None:
    assert [path.stem for path in BOARDS] == ["api", "fleet", "gateway", "system", "tasks"]
    assert len({board(path)["uid"] for path in BOARDS}) == 5


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_a_dashboard_imports_anywhere(path: Path) -> None:
    found = board(path)
    assert found["templating"]["list"][0]["type"] == "datasource"
    ids = [panel["id"] for panel in found["panels"]]
    assert len(ids) == len(set(ids)) >= 10
    for panel in found["panels"]:
        assert panel["type"] in ("timeseries", "stat")
        assert panel["targets"]
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}
        place = panel["gridPos"]
        assert 0 <= place["x"] <= place["x"] + place["w"] <= 24


def test_no_two_panels_lie_over_each_other() -> None:
    for path in BOARDS:
        taken: set[tuple[int, int]] = set()
        for panel in board(path)["panels"]:
            place = panel["gridPos"]
            columns, rows = (range(place[at], place[at] + place[size]) for at, size in (("x", "w"), ("y", "h")))
            cells = {(x, y) for x in columns for y in rows}
            assert not cells & taken, panel["title"]
            taken |= cells


def test_every_query_names_metrics_and_labels_that_there_are(offered: dict[str, set[str]]) -> None:
    for where, expression in expressions():
        names = set(re.findall(r"\b(?:moolai_\w+|up)\b", expression))
        assert names, where
        assert sorted(names - set(offered)) == [], where
        labels = set(SELECTED.findall(expression))
        labels |= {name.strip() for group in GROUPED.findall(expression) for name in group.split(",")}
        assert sorted(labels - set().union(*(offered[name] for name in names))) == [], where


def test_a_metric_that_is_not_there_would_be_found(offered: dict[str, set[str]]) -> None:
    assert "moolai_unheard_of" not in offered
    assert offered["moolai_http_request_duration_seconds_bucket"] == {"node", "route", "method", "le"}


@pytest.mark.skipif(promtool.executable() is None, reason=promtool.MISSING)
def test_promtool_takes_every_query_the_rules_and_the_configuration(tmp_path: Path) -> None:
    rules = [{"record": f"query:{number}", "expr": text} for number, (_, text) in enumerate(expressions())]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    for arguments in (("rules", str(file)), ("rules", str(RULES)), ("config", str(CONFIG))):
        code, said = promtool.check(*arguments)
        assert code == 0, said
        assert "SUCCESS" in said
