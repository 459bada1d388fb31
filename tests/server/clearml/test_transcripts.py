"""480 recorded calls of a real ClearML server, against ours: with the program that came with the recordings."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_events.server import clearml
from otel_events.server.clearml_api import app
from otel_events.server.clearml_api.access import COMPANY, Access
from otel_events.server.clearml_api.base import Service
from otel_events.store import SqliteStore
from tests.corpus import CORPUS
from tests.server.clearml.running import running

RECORDED = CORPUS.parent / "clearml"
KEY, SECRET = "replay-key", "replay-secret"
BETTER = {
    ("add_errors", "type is a number"): "400 and the reason counted, where the real server fails with 500",
    ("envelope_basic", "JSON that is not an object"): "400, where the real server fails with 500",
}
"""(transcript, call) -> what is better; docs/clearml.md lists both under "Betterments of writes"."""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    store = SqliteStore(tmp_path_factory.mktemp("store") / "store.db")
    service = Service(store, COMPANY, app.now_ms, time.monotonic)
    with running(app.create(service, Access({KEY: SECRET}, b"k" * 32), clearml.ENDPOINTS)) as found:
        yield found
    store.close()


@pytest.mark.skipif(not RECORDED.is_dir(), reason=f"the recordings are not at {RECORDED}")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("path", sorted(RECORDED.glob("*.jsonl")), ids=lambda path: path.stem)
def test_every_recorded_call_is_answered_as_it_was(url: str, path: Path) -> None:
    environ = os.environ | {"CLEARML_API_ACCESS_KEY": KEY, "CLEARML_API_SECRET_KEY": SECRET}
    command = [sys.executable, str(RECORDED / "replay_clearml.py"), url, str(path)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stdout[-3000:]
    passed, failed = re.findall(r"^(\d+) passed, (\d+) failed$", done.stdout, re.MULTILINE)[-1]
    assert (int(passed) > 0, failed) == (True, "0")
    quirks = re.findall(r"^  quirk call \d+ .*?\[(.*?)\]:", done.stdout, re.MULTILINE)
    assert {(path.stem, note) for note in quirks} <= BETTER.keys()
