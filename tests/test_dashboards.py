"""Dashboards, read as Grafana reads them: rules of its dashboard-linter and of ours, stated over the committed JSON.

Of the linter's rules two are left out on purpose: ``job`` and ``instance`` as variables and in every query. Which
process of ours counted a run is of no interest to who reads these; ``source`` and ``namespace`` stand in their place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import yaml

from otel_events.core.metrics import all_families
from otel_events.model.declared import all_traits

FAMILIES = all_families(all_traits())

ROOT = Path(__file__).resolve().parents[1]
BOARDS = {path.stem: json.loads(path.read_text("utf-8")) for path in (ROOT / "grafana" / "dashboards").glob("*.json")}
BY_UID = {board["uid"]: board for board in BOARDS.values()}
SOURCES = yaml.safe_load((ROOT / "grafana/provisioning/datasources/otel-events.yaml").read_text())["datasources"]
RULES = yaml.safe_load((ROOT / "collector/prometheus/rules.yaml").read_text())["groups"]

UNITS = {"short", "s", "ops", "bytes", "percentunit"}
"""Of Grafana's units, those that say what our numbers are: count, seconds, a second, bytes, a share of 1."""
SUFFIXES = {"counter": ("",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}
OF_OTHERS = re.compile(r"up|otelcol_\w+")
"""Prometheus' own, and the collector's: the live proof finds those in the real ones."""
EVERYWHERE = {"job", "instance", "le"}

FAMILY = {family.name + suffix: family for family in FAMILIES for suffix in SUFFIXES[family.type]}
COUNTED = {name for name, family in FAMILY.items() if family.type != "gauge"}
RECORDED = {rule["record"] for group in RULES for rule in group["rules"]}

_METRIC = re.compile(r"(?<![\w:$\"{.])([a-zA-Z_:][\w:]*)(?=\s*(?:\{|\[|\)|$| [-+*/<>=]))")
_MATCHERS = re.compile(r"([a-zA-Z_:][\w:]*)\{([^}]*)\}")
_VARIABLE = re.compile(r"\$\{?([a-zA-Z_]\w*)")
_BUILT_IN = re.compile(r"__\w+")


def panels(board: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for panel in board["panels"]:
        if panel["type"] != "row":
            yield panel


def prometheus() -> Iterator[tuple[str, str]]:
    """(where, PromQL) of every panel, variable and annotation."""
    for name, board in BOARDS.items():
        for panel in panels(board):
            for target in panel["targets"]:
                if target["datasource"]["type"] == "prometheus":
                    yield f"{name}: {panel['title']}", target["expr"]
        for variable in board["templating"]["list"]:
            if variable["type"] == "query":
                yield f"{name}: ${variable['name']}", asked(variable)[0]
        for annotation in board["annotations"]["list"]:
            yield f"{name}: {annotation['name']}", annotation["expr"]


def asked(variable: dict[str, Any]) -> tuple[str, str]:
    """(selector, label) of ``label_values(selector, label)``."""
    found = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
    assert found
    return found[1], found[2]


def names(expr: str) -> set[str]:
    """Metrics of an expression: the words that are not functions, keywords or labels."""
    bare = re.sub(r"\b(?:by|without|on|ignoring|group_left|group_right) ?\([^)]*\)", " ", expr)
    return {
        name for name in _METRIC.findall(re.sub(r'"[^"]*"', '""', bare)) if "_" in name or ":" in name or name == "up"
    }


EXPRESSIONS = sorted(set(prometheus()))
BOARD = pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS.keys())
EXPRESSION = pytest.mark.parametrize(("where", "expr"), EXPRESSIONS, ids=[where for where, _ in EXPRESSIONS])


def test_there_is_something_to_hold_these_against() -> None:
    assert len(BOARDS) == len(BY_UID) == 10
    assert len(EXPRESSIONS) > 100
    assert names('sum by (le) (rate(a_total{x="b_total"}[5m])) / (up > 0) + x:y') == {"a_total", "up", "x:y"}


@EXPRESSION
def test_every_metric_exists(where: str, expr: str) -> None:
    unknown = {name for name in names(expr) - FAMILY.keys() - RECORDED if not OF_OTHERS.fullmatch(name)}
    assert names(expr) or '__name__=~"otel_events_stat_' in expr, "of stats, whose names are the users'"
    assert not unknown


@EXPRESSION
def test_every_label_is_one_of_the_metric_s(where: str, expr: str) -> None:
    for name, matchers in _MATCHERS.findall(expr):
        if name in FAMILY:
            used = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", re.sub(r'"[^"]*"', '""', matchers)))
            assert used <= {*FAMILY[name].labels, *EVERYWHERE}
    known = {label for name in names(expr) & FAMILY.keys() for label in FAMILY[name].labels}
    if known and names(expr) <= FAMILY.keys():
        grouped = {one.strip() for by in re.findall(r"\bby \(([^)]*)\)", expr) for one in by.split(",")}
        assert grouped <= {*known, *EVERYWHERE}


@EXPRESSION
def test_counters_are_rated_and_never_averaged(where: str, expr: str) -> None:
    if "$" in where:
        return  # the values of a label, not of the counter
    for name in names(expr) & COUNTED:
        uses = len(re.findall(rf"\b{name}\b", expr))
        rated = len(re.findall(rf"\b(?:rate|increase|resets)\({name}\{{?", expr))
        assert uses == rated, f"{name} is a counter: its value is since the process began"
    assert not re.search(r"\bavg(?:_over_time)?\b", expr), (
        "of counters and quantiles there is no average that means anything"
    )


@EXPRESSION
def test_ranges_follow_the_dashboard(where: str, expr: str) -> None:
    ranges = set(re.findall(r"\[([^]:]+):?\]", expr))
    fixed = {"1m"} if where.endswith("Failed runs") else set()  # an annotation has a step of its own, of a minute
    assert ranges <= {"$__rate_interval", "$__range"} | fixed
    assert "rate(" not in expr or "$__rate_interval" in ranges


@BOARD
def test_panels_say_what_they_show(board: dict[str, Any]) -> None:
    assert board["description"].endswith(".")
    for panel in panels(board):
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["targets"]
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
        assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"][0]["value"] is None


@BOARD
def test_titles_differ_within_a_row(board: dict[str, Any]) -> None:
    row: set[str] = set()
    for panel in board["panels"]:
        if panel["type"] == "row":
            row = set()
        else:
            assert panel["title"] not in row
            row.add(panel["title"])


@BOARD
def test_panels_lie_side_by_side(board: dict[str, Any]) -> None:
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    places = [panel["gridPos"] for panel in board["panels"]]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        apart = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        apart = apart or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert apart


@BOARD
def test_data_sources_are_chosen_at_the_top(board: dict[str, Any]) -> None:
    offered = {
        f"${{{one['name']}}}": one["query"] for one in board["templating"]["list"] if one["type"] == "datasource"
    }
    holders = [*panels(board), *(target for panel in panels(board) for target in panel["targets"])]
    holders += [one for one in board["templating"]["list"] if one["type"] == "query"] + board["annotations"]["list"]
    for holder in holders:
        assert offered[holder["datasource"]["uid"]] == holder["datasource"]["type"]
    assert {source["type"] for source in SOURCES} >= set(offered.values())


@BOARD
def test_variables_are_chained_and_all_of_them_are_there(board: dict[str, Any]) -> None:
    variables = board["templating"]["list"]
    earlier: list[str] = []
    for variable in variables:
        if variable["type"] == "query":
            assert variable["refresh"] == 2, "the values follow the time shown"
            selector, label = asked(variable)
            assert set(_VARIABLE.findall(selector)) == set(earlier)
            assert label == variable["name"]
            assert label in FAMILY[re.split(r"\{", selector)[0]].labels
            earlier.append(label)
    text = json.dumps([board["panels"], board["annotations"]])
    used = {name for name in _VARIABLE.findall(text) if not _BUILT_IN.match(name)}
    assert used <= {variable["name"] for variable in variables}


@BOARD
def test_links_lead_to_dashboards_and_variables_that_exist(board: dict[str, Any]) -> None:
    for panel in panels(board):
        for link in panel["fieldConfig"]["defaults"].get("links", ()):
            parts = urlsplit(link["url"])
            there = BY_UID[parts.path.removeprefix("/d/").partition("/")[0]]
            known = {one["name"] for one in there["templating"]["list"]}
            given = {key.removeprefix("var-") for key, _ in parse_qsl(parts.query) if key.startswith("var-")}
            given |= set(re.findall(r"\$\{(\w+):queryparam\}", parts.query))
            assert given
            assert given <= known
    assert board["links"][0]["tags"] == ["otel-events"]
    assert set(board["links"][0]["tags"]) <= set(board["tags"])


@BOARD
def test_histograms_show_exemplars(board: dict[str, Any]) -> None:
    for panel in panels(board):
        exprs = [target.get("expr", "") for target in panel["targets"]]
        if panel["type"] == "timeseries" and any("histogram_quantile" in expr for expr in exprs):
            assert any(target["exemplar"] for target in panel["targets"])


@BOARD
def test_nobody_edits_what_is_provisioned(board: dict[str, Any]) -> None:
    assert board["editable"] is False
    assert board["refresh"]


@pytest.mark.parametrize("name", ["overview", "workflow", "task", "flyte", "prefect", "ray", "clearml"])
def test_failures_are_annotated(name: str) -> None:
    assert [one["name"] for one in BOARDS[name]["annotations"]["list"]] == ["Failed runs"]


def test_metrics_traces_and_logs_lead_to_each_other() -> None:
    uids = {source["type"]: source["uid"] for source in SOURCES}
    data = {source["type"]: source["jsonData"] for source in SOURCES}
    assert [one["datasourceUid"] for one in data["prometheus"]["exemplarTraceIdDestinations"]] == [uids["tempo"]]
    assert data["tempo"]["tracesToLogsV2"]["datasourceUid"] == uids["loki"]
    assert data["tempo"]["tracesToMetrics"]["datasourceUid"] == uids["prometheus"]
    assert [one["datasourceUid"] for one in data["loki"]["derivedFields"]] == [uids["tempo"]]
    tags = {one["value"] for one in data["tempo"]["tracesToMetrics"]["tags"]}
    for query in data["tempo"]["tracesToMetrics"]["queries"]:
        assert all(tags <= set(FAMILY[name].labels) for name in names(query["query"].replace("$$__tags", "")))


def test_alerts_lead_to_dashboards_that_exist() -> None:
    groups = yaml.safe_load((ROOT / "collector/prometheus/alerts.yaml").read_text())["groups"]
    urls = [rule["annotations"]["dashboard_url"] for group in groups for rule in group["rules"]]
    assert len(urls) == 19
    for url in urls:
        assert re.search(r"/d/([\w-]+)", url)[1] in BY_UID  # type: ignore[index]  # no match is the failure
