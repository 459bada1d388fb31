"""482 recorded calls of a real ClearML server, against ours over HTTP: by a comparison of our own, which a bare clone
runs, and by the program that came with the recordings where that is there."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from otel_events.clearml_server import service as clearml
from otel_events.clearml_server.api import app
from otel_events.clearml_server.api.access import COMPANY, Access
from otel_events.clearml_server.api.base import Service
from otel_events.clearml_server.store import SqliteStore
from tests.clearml_server.asking import parts
from tests.clearml_server.recorded import FOLDER, Call, Comparison, Ids, Transcript
from tests.clearml_server.running import running
from tests.corpus import CORPUS
from tests.patience import PATIENCE

PROGRAM = CORPUS.parent / "clearml" / "replay_clearml.py"
KEY, SECRET = "replay-key", "replay-secret"
OLD, OLDER = "0" * 32, "1" * 32
CREDENTIALS = b64encode(f"{KEY}:{SECRET}".encode()).decode()
BETTER = {
    ("add_errors", 11): "a type that is a number: 400 and the reason counted, where the real server fails with 500",
    ("envelope_basic", 12): "JSON that is no object: 400, where the real server fails with 500",
}
"""(transcript, number of its call) -> what is better; docs/clearml.md lists both under "Betterments of writes"."""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    store = SqliteStore(tmp_path_factory.mktemp("store") / "store.db")
    service = Service(*parts(store), COMPANY, app.now_ms, time.monotonic)
    with running(app.create(service, Access({KEY: SECRET}, b"k" * 32), clearml.ENDPOINTS)) as address:
        yield address
    store.close()


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.jsonl.gz")), ids=lambda path: path.name.partition(".")[0])
def test_every_recorded_call_is_answered_as_it_was(url: str, path: Path) -> None:
    transcript, name = Transcript(path), path.name.partition(".")[0]
    assert transcript.calls
    deviations: dict[tuple[str, int], list[str]] = {}
    with httpx.Client(base_url=url, trust_env=False, timeout=PATIENCE) as client:
        login = client.post("/auth.login", headers={"Authorization": f"Basic {CREDENTIALS}"})
        token = login.json()["data"]["token"]
        client.cookies.clear()
        for call in transcript.calls:
            client.cookies.clear()  # a call has what was recorded of it, and nothing else
            if differences := transcript.differences(client, call, CREDENTIALS, token):
                deviations[name, call.n] = differences[:3]
    assert deviations.keys() == {place for place in BETTER if place[0] == name}, deviations


def test_what_is_better_is_told_in_the_docs() -> None:
    documented = (Path(__file__).parents[2] / "docs" / "clearml.md").read_text()
    assert "`type` that is no text" in documented
    assert "a body that is JSON and no object" in documented


@pytest.mark.parametrize(
    ("recorded", "ours"),
    [
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"a": 1.1}),
        ({"a": 1}, {"a": "1"}),
        ({"a": 1}, {"a": True}),
        ({"a": None}, {"a": 0}),
        ({"a": None}, {}),
        ({"a": []}, {"a": {}}),
        ({"a": 1}, {"a": 1, "b": 2}),
        ({"in_order": [1, 2]}, {"in_order": [2, 1]}),
        ({"free": [1, 2, 2]}, {"free": [2, 1, 1]}),
        ({"tied": [{"t": 1, "x": 1}, {"t": 2, "x": 2}]}, {"tied": [{"t": 2, "x": 2}, {"t": 1, "x": 1}]}),
        ({"keys": {"a": 1, "b": 2}}, {"keys": {"b": 2, "a": 1}}),
        ({"a": OLD, "b": OLD}, {"a": "ours", "b": "another"}),
        ({"a": OLD, "b": OLDER}, {"a": "ours", "b": "ours"}),
        ({"@timestamp": "2026-01-01T00:00:00Z"}, {"@timestamp": "today"}),
        ({"timestamp": 1e12}, {"timestamp": 5}),
    ],
)
def test_the_comparison_sees(recorded: Any, ours: Any) -> None:
    assert list(compared(recorded, ours))


@pytest.mark.parametrize(
    ("recorded", "ours"),
    [
        ({"a": 1.0}, {"a": 1.0000001}),
        ({"free": [1, {"x": OLD}]}, {"free": [{"x": "ours"}, 1]}),
        ({"tied": [{"t": 1, "x": 1}, {"t": 1, "x": 2}]}, {"tied": [{"t": 1, "x": 2}, {"t": 1, "x": 1}]}),
        ({"a": OLD, "b": f"of {OLD}", "c": {OLD: 1}}, {"a": "ours", "b": "of ours", "c": {"ours": 1}}),
        ({"timestamp": 1e12}, {"timestamp": 1.7e12}),
    ],
)
def test_the_comparison_lets_pass(recorded: Any, ours: Any) -> None:
    assert not list(compared(recorded, ours))


def compared(recorded: Any, ours: Any) -> Iterator[str]:
    call = Call(
        *(1, "POST", "/", {}, 200, "application/json"),
        ties={"data.tied": ["t"]},
        unordered=frozenset(["data.free"]),
        ordered=frozenset(["data.keys"]),
    )
    ids = Ids({OLD: "object", OLDER: "object"})
    return Comparison(ids, frozenset([1e12]), call, frozenset()).differences(recorded, ours, "data")


@pytest.mark.skipif(not PROGRAM.is_file(), reason=f"the program that came with the recordings is not at {PROGRAM}")
def test_the_program_that_came_with_the_recordings_says_the_same(url: str) -> None:
    environ = os.environ | {"CLEARML_API_ACCESS_KEY": KEY, "CLEARML_API_SECRET_KEY": SECRET}
    command = [sys.executable, str(PROGRAM), url, str(PROGRAM.parent)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout[-3000:]
    calls = sum(len(Transcript(path).calls) for path in FOLDER.glob("*.jsonl.gz"))
    assert done.stdout.splitlines()[-1] == f"{calls - len(BETTER)} passed, 0 failed"
