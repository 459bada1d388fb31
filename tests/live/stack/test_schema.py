"""The dashboards against Grafana's own types (``@grafana/schema``, npm), read by the TypeScript compiler: unknown
fields, wrong types and words that an enum does not have are errors.

Of the package's types, enums are taken as their values, which is what JSON holds.
"""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from grafana.generate import DASHBOARDS, dashboard

HERE = Path(__file__).parent / "schema"
FREE = ("expr", "step", "titleFormat", "textFormat")
"""Fields of an annotation that belong to its data source, Prometheus: the types of a dashboard do not have them."""
PANELS = {
    "timeseries": "timeseries",
    "stat": "stat",
    "table": "table",
    "bargauge": "bargauge",
    "heatmap": "heatmap",
    "logs": "logs",
    "state-timeline": "statetimeline",
}
"""Type of a panel -> folder of its options in the package; it has none for panels of traces."""
FIELDS = ("timeseries", "table", "heatmap", "state-timeline")
"""Those that have options for a field, too."""
HEAD = """
import type { Dashboard } from "@grafana/schema";
type Plain<T> = T extends string ? `${T}` : T extends number ? (`${T}` extends `${infer N extends number}` ? N : T)
  : T extends boolean | null | undefined ? T : T extends (infer U)[] ? Plain<U>[]
  : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;
"""

Check = Callable[[list[dict[str, Any]]], list[str]]


def program(boards: list[dict[str, Any]]) -> str:
    """TypeScript that compiles if these are dashboards."""
    lines = [HEAD]
    for kind, folder in PANELS.items():
        fields = ", FieldConfig" if kind in FIELDS else ""
        names = "".join(f", {part} as {part}_{folder}" for part in ["Options", *fields[2:].split()])[2:]
        path = f"./node_modules/@grafana/schema/dist/types/raw/composable/{folder}/panelcfg/x/types.gen.js"
        lines.append(f'import type {{ {names} }} from "{path}";')
    for index, board in enumerate(copy.deepcopy(boards)):
        for annotation in board["annotations"]["list"]:
            for field in FREE:
                annotation.pop(field)
        lines.append(f"export const dashboard_{index}: Plain<Dashboard> = {json.dumps(board)};")
        for panel in board["panels"]:
            if panel["type"] not in PANELS:
                continue
            folder = PANELS[panel["type"]]
            name = f"{index}_{panel['id']}"
            lines.append(
                f"export const options_{name}: Plain<Partial<Options_{folder}>> = {json.dumps(panel['options'])};"
            )
            if panel["type"] in FIELDS:
                custom = panel["fieldConfig"]["defaults"].get("custom", {})
                lines.append(
                    f"export const custom_{name}: Plain<Partial<FieldConfig_{folder}>> = {json.dumps(custom)};"
                )
    return "\n".join(lines)


@pytest.fixture(scope="module")
def check(tmp_path_factory: pytest.TempPathFactory) -> Check:
    """What the compiler says of dashboards."""
    folder = tmp_path_factory.mktemp("schema")
    for path in HERE.iterdir():
        shutil.copy(path, folder)
    install = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
    subprocess.run(install, cwd=folder, check=True, capture_output=True, timeout=300)

    def run(boards: list[dict[str, Any]]) -> list[str]:
        (folder / "check.ts").write_text(program(boards))
        compiler = ["node", "node_modules/typescript/bin/tsc", "-p", "."]
        done = subprocess.run(compiler, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
        found = re.findall(r"^check\.ts\(\d+,\d+\): error .*$", done.stdout, re.MULTILINE)
        assert (done.returncode == 0) == (not found), done.stdout
        return found

    return run


def test_every_dashboard_is_one_to_grafana(check: Check) -> None:
    assert check([dashboard(of) for of in DASHBOARDS]) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schemaVersion",), "39"),
        (("templating", "list", 0, "hide"), 7),
        (("panels", 1, "gridPos", "w"), "12"),
        (("panels", 1, "fieldConfig", "defaults", "thresholds", "mode"), "relative"),
        (("links", 0, "type"), "dashboard"),
        (("colour",), "red"),
    ],
)
def test_the_compiler_sees_what_is_wrong(check: Check, path: tuple[str | int, ...], value: Any) -> None:
    board: Any = copy.deepcopy(dashboard(DASHBOARDS[0]))
    inner = board
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    assert check([board])


def test_the_compiler_sees_wrong_options_of_a_panel(check: Check) -> None:
    board: Any = copy.deepcopy(dashboard(DASHBOARDS[0]))
    panel = next(one for one in board["panels"] if one["type"] == "timeseries")
    panel["options"]["tooltip"]["mode"] = "all"
    assert check([board])
