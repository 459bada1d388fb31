"""What README and docs/tasks.md print to be run is run, and so is the example of plain Python."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_events.testing import CaptureServer
from tests.patience import PATIENCE, PATIENT

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def collector() -> Iterator[CaptureServer]:
    with CaptureServer() as server:
        yield server


def blocks(page: str, heading: str = "") -> list[tuple[str, str]]:
    """(language, code) of a page, or of one of its sections."""
    text = (ROOT / page).read_text()
    if heading:
        text = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return [(match[1], match[2]) for match in BLOCK.finditer(text)]


def run(command: list[str], collector: CaptureServer, cwd: Path) -> str:
    environ = os.environ | collector.environ("http/protobuf")
    environ |= {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{environ['PATH']}", "HOME": str(cwd)}
    environ |= {"XDG_STATE_HOME": str(cwd), "XDG_CACHE_HOME": str(cwd), "PYTHONWARNINGS": "error"}
    done = subprocess.run(command, env=environ, cwd=cwd, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_the_section_on_tasks_does_what_it_says(collector: CaptureServer, tmp_path: Path) -> None:
    (python, job), (sh, commands) = blocks("README.md", "Instrument a task")
    assert (python, sh) == ("python", "sh")
    (tmp_path / "job.py").write_text(PATIENT + job)
    printed = run(["sh", "-euc", commands], collector, tmp_path)
    assert printed.splitlines()[:2] == ["500.0", "500.0"]
    assert printed.count("__main__.nightly") == 2
    spans = collector.spans()
    assert Counter(one.name for one in spans) == {"RUN __main__.nightly": 2, "__main__.train": 2}
    assert len({one.trace_id for one in spans}) == 2
    points = {one.name: one.value or one.count for one in collector.metrics()}
    assert (points["otel_events_stat_rows_total"], points["otel_events_stat_fit_seconds"]) == (2000, 2)
    lines = [one for one in collector.logs() if one.body == "training on 1000 rows"]
    assert {one.span_id for one in lines} == {one.span_id for one in spans if one.name == "__main__.train"}


def test_the_page_on_tasks_begins_with_a_program_that_runs(collector: CaptureServer, tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text(PATIENT + blocks("docs/tasks.md")[0][1])
    assert run([sys.executable, "job.py"], collector, tmp_path) == "500.0\n"
    assert {one.name for one in collector.spans()} == {"RUN __main__.nightly", "__main__.train"}


def test_its_other_blocks_run_inside_a_task(collector: CaptureServer, tmp_path: Path) -> None:
    """As they stand, one after the other, in a task that has what they need."""
    code = "".join(text for language, text in blocks("docs/tasks.md")[1:] if language == "python")
    imports = [line for line in code.splitlines() if line.startswith(("import ", "from "))]
    lines = "".join(f"    {line}\n" for line in code.splitlines() if line not in imports)
    before = "\n".join(["import otel_events", *imports, "", "@otel_events.task", "def page():", ""])
    after = "    load()\n\notel_events.configure()\npage()\n"
    (tmp_path / "job.py").write_text(PATIENT + before + lines + after)
    (tmp_path / "step.py").write_text(
        PATIENT + "import otel_events\notel_events.configure()\notel_events.task(name='step')(int)()\n"
    )
    run([sys.executable, "job.py"], collector, tmp_path)
    spans = {one.name: one for one in collector.spans()}
    assert {one.parent_span_id for name, one in spans.items() if name != "__main__.page"} == {
        spans["__main__.page"].span_id
    }
    [load] = [one for name, one in spans.items() if name.endswith("load")]
    assert load.attributes["otel_events.output.o0.partition.region"] == "eu"
    assert load.attributes["otel_events.output.o0.quality"] == "0.95"
    assert "step" in spans
    families = set(re.findall(r"otel_events_stat_\w+", code))
    assert families == {one.name for one in collector.metrics() if "_stat_" in one.name} - {
        "otel_events_stat_files_total"
    }


def test_the_example(collector: CaptureServer, tmp_path: Path) -> None:
    expected = sum(sum(range(len(region) * 10)) for region in ("eu", "us", "asia"))
    for _ in range(2):
        printed = run([sys.executable, str(ROOT / "examples" / "plain_python.py")], collector, tmp_path)
        assert printed.splitlines()[-1] == str(expected)
    spans = collector.spans()
    outcomes = Counter((one.name.rpartition(".")[2], one.attributes["otel_events.outcome"]) for one in spans)
    assert outcomes == {
        ("report", "succeeded"): 2,
        ("load", "succeeded"): 6,
        ("load", "failed"): 2,
        ("total", "succeeded"): 6,
    }
    statuses = Counter(one.attributes.get("otel_events.cache.status") for one in spans if one.name.endswith("total"))
    assert statuses == {"populated": 2, "hit": 4}
