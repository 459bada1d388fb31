"""``otel-events demo``: every source, trees, figures and where to look, with no network and nothing left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from otel_events.cli.demo import bundled
from otel_events.intake.records import Record
from otel_events.sources import decoder, source_names
from tests.cli.conftest import Cli
from tests.patience import PATIENCE

ROOT = Path(__file__).resolve().parents[2]


def test_the_bundled_records_are_of_every_source_and_all_good() -> None:
    found = dict(bundled())
    assert set(found) == set(source_names())
    for source, records in found.items():
        decode = decoder(source)
        assert len(records) >= 10
        assert all(isinstance(one, Record) and decode(one.body, one.hint) for one in records)


def test_the_demo_shows_trees_figures_and_where_to_look(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    ran = cli("demo")
    assert (ran.code, ran.err) == (0, "")
    for source, root in (("flyte", "flytesnacks/development/"), ("prefect", ""), ("events", "nightly/42")):
        assert f"\n{source if source != 'events' else 'batch'}: {root}" in ran.out
    assert "task/train attempt 2 succeeded *" in ran.out
    figures = ran.out.partition("Runs, by outcome")[2]
    assert re.search(r"^batch +task +succeeded +3 +3 ", figures, re.MULTILINE)
    assert re.search(r"^batch +task +crashed +0 +1 ", figures, re.MULTILINE)
    assert re.search(r"^flyte +workflow +succeeded +1 +1 ", figures, re.MULTILINE)
    assert re.search(r"^python +workflow +succeeded +1 +1 ", figures, re.MULTILINE)
    assert re.search(r"^TASK_RUNNING .* {4}  task/total attempt 1 succeeded", ran.out, re.MULTILINE)
    assert "otel-events replay SOURCE PATH" in ran.out
    assert list(tmp_path.glob("otel-events-*")) == []


def test_the_demo_keeps_the_metrics_page_up_when_asked(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "otel_events", "demo", "--serve", "--port", "0"]
    env = os.environ | {"TMPDIR": str(tmp_path)}
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        first = process.stderr.readline()
        url = re.search(r"http://\S+/metrics", first)
        assert url, first + process.stderr.read()
        page = httpx.get(url[0], trust_env=False, timeout=PATIENCE).text
        assert re.search(r'otel_events_runs_total\{.*source="prefect".*\} [1-9]', page)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()
    assert list(tmp_path.glob("otel-events-*")) == []
