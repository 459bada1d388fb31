"""docs/adding-a-source.md, step by step: a package of somebody else's is a source without a change here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import msgspec
import pytest

from tests.patience import PATIENCE, until

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "adding-a-source.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^`([\w./]+)`:\n\n```\w+\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
[COMMANDS] = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the reader of the page works, with the package installed beside it."""
    folder = tmp_path_factory.mktemp("toy")
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    command = [*PIP, "--no-deps", "--no-build-isolation", "--no-index", "--target", str(folder / "site"), str(folder)]
    subprocess.run(command, check=True, timeout=PATIENCE)
    return folder


def environment(package: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(package / "site"), str(ROOT)])}


def command(package: Path, line: str) -> subprocess.CompletedProcess[str]:
    """A line of the page, as it stands there."""
    assert line in COMMANDS.splitlines()
    arguments = [sys.executable, "-m", *line.replace("otel-events", "otel_events", 1).split()]
    return subprocess.run(
        arguments, cwd=package, env=environment(package), capture_output=True, text=True, timeout=PATIENCE, check=False
    )


def test_the_page_has_every_step() -> None:
    assert list(FILES) == [
        *("pyproject.toml", "otel_events_toy/__init__.py", "otel_events_toy/decode.py", "otel_events_toy/serve.py"),
        "toys.jsonl",
    ]
    assert COMMANDS.splitlines()[0] == "pip install ."


def test_replay(package: Path) -> None:
    ran = command(package, "otel-events replay toy toys.jsonl --out out/")
    assert ran.returncode == 1
    assert "state 'eaten' is not known: name it in PHASES of otel_events_toy" in ran.stderr
    spans = [
        span
        for line in (package / "out" / "traces.jsonl").read_text().splitlines()
        for resource in msgspec.json.decode(line)["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]
    assert [(span["name"], len(span["events"])) for span in spans] == [("robot", 3)]
    metrics = (package / "out" / "metrics.prom").read_text()
    assert "# HELP otel_events_toy_robots Robots on the line." in metrics
    assert re.search(
        r'^otel_events_runs_total\{.*outcome="succeeded".*source="toy".*\} 1(?:\.0)?$', metrics, re.MULTILINE
    )
    [letter] = (package / "out" / "dead_letters.jsonl").read_text().splitlines()
    assert "eaten" in letter


def test_doctor_and_help_name_it(package: Path) -> None:
    assert "source toy" in command(package, "otel-events doctor").stdout
    asked = [sys.executable, "-m", "otel_events"]
    for arguments, text in ((["replay", "--help"], "toy"), (["serve", "--help"], "--toy-log")):
        ran = subprocess.run([*asked, *arguments], env=environment(package), capture_output=True, text=True, check=True)
        assert text in ran.stdout


def test_the_documentation_prints_it(package: Path) -> None:
    code = """
import sys
sys.path.insert(0, sys.argv[1])
from otel_events.sources import load_source
from scripts import print_docs
print(print_docs.sources_page([load_source("toy")]))
assert "`toy`" not in print_docs.sources(), "the project's own page is about its own sources"
assert "toy_robots" not in print_docs.metrics()
"""
    ran = subprocess.run(
        [sys.executable, "-c", code, str(ROOT)], env=environment(package), capture_output=True, text=True, check=True
    )
    assert "| `toy` | `otel_events_toy.decode` | Toys, as their factory writes them down" in ran.stdout
    assert "| `on the line` | `running` |" in ran.stdout


@pytest.fixture
def served(package: Path, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """(address, the log that is read on) of a gateway with the toys installed."""
    log = tmp_path / "toys.jsonl"
    log.write_text("")
    assert "otel-events serve --toy-log toys.jsonl" in COMMANDS.splitlines()
    arguments = ["serve", "--port", "0", "--journal", str(tmp_path / "j.db"), "--poll", "0.2", "--toy-log", str(log)]
    process = subprocess.Popen(
        [sys.executable, "-m", "otel_events", *arguments, "--drain", "0"],
        env=environment(package), stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        first = process.stderr.readline()
        match = re.search(r"http://[\d.:]+", first)
        assert match, first
        reader = threading.Thread(target=process.stderr.read, daemon=True)
        reader.start()
        yield match[0], log
    finally:
        process.terminate()
        process.wait(PATIENCE)
        reader.join(PATIENCE)
        assert process.stderr is not None
        process.stderr.close()


def scraped(address: str) -> str:
    with urlopen(f"{address}/metrics", timeout=PATIENCE) as answer:  # noqa: S310 - http, of our own process
        text: str = answer.read().decode()
    return text


def test_serve(served: tuple[str, Path]) -> None:
    address, log = served
    shelved, on_the_line, boxed, _ = FILES["toys.jsonl"].splitlines(keepends=True)
    log.write_text(shelved + on_the_line)
    gauge = re.compile(r'^otel_events_toy_robots\{.*name="robot".*source="toy".*\} 1(?:\.0)?$', re.MULTILINE)
    until(lambda: bool(gauge.search(scraped(address))))
    event = {"specversion": "1.0", "id": "1", "source": "f", "type": "com.example.toy.state", "data": "{}"}
    body = msgspec.json.encode(event | msgspec.json.decode(boxed))
    request = Request(f"{address}/cloudevents", body, {"Content-Type": "application/cloudevents+json"})  # noqa: S310 - as above
    with urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310 - as above
        assert msgspec.json.decode(answer.read())["accepted"] == 1
    until(lambda: not gauge.search(scraped(address)))
