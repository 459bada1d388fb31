"""Rules and alerts under promtool: valid, each alert tested both ways, each with what someone woken by it needs."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from grafana.generate import DASHBOARDS
from scripts.stack_binaries import ROOT, binary

FOLDER = ROOT / "collector" / "prometheus"
ALERTS: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"] for rule in group["rules"]
]
TESTS = sorted((FOLDER / "tests").glob("*.yaml"))


def promtool(*arguments: str) -> str:
    settings = os.environ | {"GRAFANA_URL": "http://127.0.0.1:3000", "RUNBOOKS_URL": "http://127.0.0.1/runbooks"}
    done = subprocess.run(
        [str(binary("promtool")), *arguments], capture_output=True, text=True, check=False, env=settings, timeout=170
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(1800)  # the first call may build it
def test_the_configuration_is_valid() -> None:
    assert f"{len(ALERTS)} rules found" in promtool("check", "config", "--lint=all", str(FOLDER / "prometheus.yaml"))


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_the_unit_tests_of_the_rules_pass(path: Path) -> None:
    assert "SUCCESS" in promtool("test", "rules", str(path))


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_is_shown_silent_firing_and_cleared(alert: dict[str, Any]) -> None:
    asked = f'alertname="{alert["alert"]}"'
    seen = []
    for path in TESTS:
        for group in yaml.safe_load(path.read_text())["tests"]:
            cases = [case for case in group.get("promql_expr_test", []) if asked in case["expr"]]
            ordered = sorted(cases, key=lambda case: int(case["eval_time"].removesuffix("m")))
            seen.append([bool(case["exp_samples"]) for case in ordered])
    assert any(
        states and not states[0] and True in states and not states[states.index(True) :][-1] for states in seen
    ), "silent, then firing, then cleared"


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_says_what_someone_woken_by_it_needs(alert: dict[str, Any]) -> None:
    told = alert["annotations"]
    assert re.fullmatch(r"OtelEvents([A-Z][a-z]+)+", alert["alert"])
    assert alert["labels"]["severity"] in {"critical", "warning", "info"}
    assert re.fullmatch(r"[A-Z][^{}]+\.", told["summary"])
    assert "{{" in told["description"]
    assert told["runbook_url"] == f"{{{{ $externalLabels.runbooks_url }}}}/{alert['alert']}.md"
    board = re.fullmatch(r"\{\{ \$externalLabels\.grafana_url \}\}/d/([\w-]+)", told["dashboard_url"])
    assert board
    assert board[1] in {one.uid for one in DASHBOARDS}


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    pages = {path.stem: path.read_text() for path in (ROOT / "grafana" / "runbooks").glob("*.md")}
    assert set(pages) == {alert["alert"] for alert in ALERTS}
    for text in pages.values():
        assert re.findall(r"(?m)^## (.+)$", text) == ["What it means", "How to look", "What to do", "What to turn"]
