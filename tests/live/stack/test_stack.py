"""``make stack`` as a user runs it: it says where things are, plays records, and leaves nothing behind on Ctrl-C."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.stack_binaries import ROOT
from tests.live.stack.kit import Prometheus, get, wait_for

pytestmark = pytest.mark.timeout(2400)  # the first to ask builds the binaries, where no cache has them

WORDS = {"gateway": "gateway, POST events here", "otlp": "OTLP/HTTP", "prometheus": "Prometheus", "jaeger": "Jaeger"}
"""What -> how it is called where its address is printed."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "stack"


@pytest.fixture
def stack(folder: Path, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "scripts/stack.py", "--folder", str(folder), "--free-ports", "--demo"]
    with (tmp_path / "said").open("wb") as said, subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=said) as one:
        yield one
        one.terminate()


def test_it_runs_and_ends(stack: subprocess.Popen[bytes], folder: Path, tmp_path: Path) -> None:
    said = tmp_path / "said"
    wait_for("it is up", lambda: "Ctrl-C ends all" in said.read_text() or stack.poll() is not None)
    urls = dict(re.findall(r"^(.*?) {2,}(http://\S+)$", said.read_text(), re.MULTILINE))
    assert set(urls) == set(WORDS.values())
    prometheus = Prometheus(urls[WORDS["prometheus"]])
    played = "count(count by (source) (otel_events_runs_total))"
    assert wait_for("runs of every source are scraped", lambda: prometheus.total(played) >= 5)
    assert wait_for("traces are in Jaeger", lambda: "otel_events" in get(f"{urls[WORDS['jaeger']]}/api/services")[1])
    assert wait_for("logs are in the file", (folder / "logs.jsonl").read_text)
    stack.send_signal(signal.SIGINT)
    assert stack.wait(600) == 0
    for url in urls.values():
        with pytest.raises(OSError, match="refused"):
            get(url)
