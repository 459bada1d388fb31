"""Grafana's classic JSON out of the tables; ``python -m grafana.generate [--check]`` writes grafana/dashboards/.

Classic JSON, schemaVersion 39: what every Grafana from 10.4 on loads, 13 too (which migrates it).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from grafana import boards, health, sources
from grafana.model import Dashboard, Panel, Query, Variable

FOLDER = Path(__file__).parent / "dashboards"
DASHBOARDS: tuple[Dashboard, ...] = (
    *(boards.OVERVIEW, boards.WORKFLOW, boards.TASK, boards.RUN, boards.QUEUE, health.HEALTH),
    *(sources.FLYTE, sources.PREFECT, sources.RAY, sources.CLEARML),
)
TYPES = {"prometheus": "prometheus", "tempo": "tempo", "loki": "loki"}
REDUCE = {"stat", "bargauge"}
_NOTHING = {"text": "", "value": ""}


def dashboard(of: Dashboard) -> dict[str, Any]:
    """One dashboard as Grafana loads it."""
    return {
        "uid": of.uid,
        "title": of.title,
        "description": of.description,
        "tags": ["otel-events", *([of.source] if of.source else [])],
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "1m",
        "time": {"from": of.since, "to": "now"},
        "timepicker": {},
        "timezone": "browser",
        "annotations": {"list": _annotations(of)},
        "links": [
            {
                "title": "otel_events",
                "type": "dashboards",
                "icon": "external link",
                "tooltip": "The other dashboards, with the same choice and time",
                "url": "",
                "tags": ["otel-events"],
                "asDropdown": True,
                "includeVars": True,
                "keepTime": True,
                "targetBlank": False,
            }
        ],
        "templating": {"list": [*_backends(of), *(_variable(one) for one in of.variables)]},
        "panels": _panels(of),
    }


def _annotations(of: Dashboard) -> list[dict[str, Any]]:
    if not of.failures:
        return []
    first = [f'source="{of.source}"'] if of.source else []
    chosen = [f'{one.name}=~"${one.name}"' for one in of.variables if one.name in ("source", "namespace")]
    match = ", ".join([*first, *chosen, f'kind="{of.kind}"', 'outcome=~"failed|crashed|timed_out"'])
    expr = f"sum by (source, name, outcome) (increase(otel_events_runs_total{{{match}}}[1m])) > 0"
    return [
        {
            "name": "Failed runs",
            "datasource": _source("prometheus"),
            "enable": True,
            "hide": False,
            "iconColor": "red",
            "expr": expr,
            "step": "60s",
            "titleFormat": "{{source}} {{name}}",
            "textFormat": "{{outcome}}",
        }
    ]


def _source(backend: str) -> dict[str, str]:
    return {"type": TYPES[backend], "uid": "${datasource}" if backend == "prometheus" else f"${{{backend}}}"}


def _backends(of: Dashboard) -> list[dict[str, Any]]:
    used = {query.backend for row in of.rows for panel in row.panels for query in panel.queries} | {"prometheus"}
    names = {"prometheus": ("datasource", "Metrics"), "tempo": ("tempo", "Traces"), "loki": ("loki", "Logs")}
    return [
        {
            "name": names[backend][0],
            "label": names[backend][1],
            "type": "datasource",
            "query": backend,
            "refresh": 1,
            "hide": 0,
            "current": {"text": "default", "value": "default"},
            "regex": "",
        }
        for backend in TYPES
        if backend in used
    ]


def _variable(of: Variable) -> dict[str, Any]:
    if of.text:
        return {"name": of.name, "label": of.label, "type": "textbox", "query": "", "current": _NOTHING, "hide": 0}
    query = f"label_values({of.of}, {of.name})"
    return {
        "name": of.name,
        "label": of.label,
        "type": "query",
        "datasource": _source("prometheus"),
        "query": {"query": query, "refId": of.name},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
        "hide": 0,
        "regex": "",
    }


def _panels(of: Dashboard) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    y = 0
    for row in of.rows:
        made.append(_row(len(made) + 1, row.title, y))
        y, x, tallest = y + 1, 0, 0
        for panel in row.panels:
            if x + panel.width > 24:
                y, x, tallest = y + tallest, 0, 0
            made.append(_panel(len(made) + 1, panel, x, y))
            x, tallest = x + panel.width, max(tallest, panel.height)
        y += tallest
    return made


def _row(number: int, title: str, y: int) -> dict[str, Any]:
    return {
        "id": number,
        "type": "row",
        "title": title,
        "collapsed": False,
        "gridPos": {"h": 1, "w": 24, "x": 0, "y": y},
        "panels": [],
    }


def _panel(number: int, of: Panel, x: int, y: int) -> dict[str, Any]:
    return {
        "id": number,
        "type": of.type,
        "title": of.title,
        "description": of.description,
        "datasource": _source(of.queries[0].backend),
        "gridPos": {"h": of.height, "w": of.width, "x": x, "y": y},
        "targets": [_target(chr(ord("A") + index), query, of) for index, query in enumerate(of.queries)],
        "fieldConfig": {"defaults": _defaults(of), "overrides": []},
        "options": _options(of),
    }


def _target(letter: str, of: Query, panel: Panel) -> dict[str, Any]:
    common: dict[str, Any] = {"refId": letter, "datasource": _source(of.backend)}
    if of.backend == "tempo":
        return common | {"queryType": "traceql", "query": of.expr, "limit": 20, "tableType": "traces"}
    if of.backend == "loki":
        return common | {"queryType": "range", "expr": of.expr, "maxLines": 500}
    return common | {
        "expr": of.expr,
        "legendFormat": of.legend or "__auto",
        "exemplar": of.exemplars,
        "instant": of.instant,
        "range": not of.instant,
        "format": "heatmap" if panel.type == "heatmap" else "time_series",
    }


def _defaults(of: Panel) -> dict[str, Any]:
    found: dict[str, Any] = {"unit": of.unit, "min": 0, "thresholds": _thresholds(of)}
    found["color"] = {"mode": "thresholds" if of.type in REDUCE else "palette-classic"}
    if of.data_links:
        found["links"] = [{"title": title, "url": url} for title, url in of.data_links]
    if of.type == "timeseries":
        found["custom"] = {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 20 if of.stacked else 5,
            "showPoints": "auto",
            "spanNulls": False,
            "stacking": {"mode": "normal" if of.stacked else "none", "group": "A"},
            "thresholdsStyle": {"mode": "dashed" if of.warn or of.crit else "off"},
        }
    return found


def _thresholds(of: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    steps += [{"color": color, "value": value} for color, value in (("orange", of.warn), ("red", of.crit)) if value]
    return {"mode": "absolute", "steps": steps}


def _options(of: Panel) -> dict[str, Any]:
    if of.type == "timeseries":
        return {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    if of.type in REDUCE:
        reduce = {"calcs": ["lastNotNull"], "fields": "", "values": False}
        shown = (
            {"displayMode": "gradient", "orientation": "horizontal"}
            if of.type == "bargauge"
            else {"colorMode": "value"}
        )
        return {"reduceOptions": reduce, **shown}
    if of.type == "logs":
        return {"showTime": True, "wrapLogMessage": True, "sortOrder": "Descending", "enableLogDetails": True}
    if of.type == "heatmap":
        return {"calculate": False, "yAxis": {"unit": of.unit}}
    return {}


def texts() -> dict[str, str]:
    """File name -> JSON of every dashboard."""
    return {
        f"{of.uid.removeprefix('otel-events-')}.json": json.dumps(dashboard(of), indent=2, ensure_ascii=False) + "\n"
        for of in DASHBOARDS
    }


def main() -> int:
    """Write the files; with --check: only say which differ, exit code 1."""
    differ = [name for name, text in texts().items() if not _same(FOLDER / name, text)]
    if "--check" in sys.argv[1:]:
        for name in differ:
            print(f"grafana/dashboards/{name} differs from the table: run python -m grafana.generate")
        return 1 if differ else 0
    FOLDER.mkdir(exist_ok=True)
    for name in differ:
        (FOLDER / name).write_text(texts()[name], encoding="utf-8")
    return 0


def _same(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    raise SystemExit(main())
