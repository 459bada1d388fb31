"""The instrumentor on Ray 2.60: code in tasks, actors, threads, coroutines, generators is under attempts' spans."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from otel_events.model.identity import span_id, trace_id
from otel_events.testing import CaptureServer
from tests.live import namespace
from tests.live.envs import python
from tests.live.test_ray_events import LONG, PORT, Receiver, cluster

PROGRAM = Path(__file__).parent / "ray_programs" / "instrumented.py"
PATIENCE = 60.0
THREES = ("streaming", "method streaming", "async streaming", "threaded", "async", "part of async")
PARTS = {
    **dict.fromkeys(("driver", "creation", "method", "static generator"), 1),
    **{f"{part} {number}": 1 for part in THREES for number in range(3)},
    **{"plain": 2, "thread of a task": 2, "again": 2, "async again": 2},
}
"""What looks around in the program, and how often."""


def scene(folder: Path, interpreter: Path) -> None:
    """Run the program, with a gateway that Ray's events and its own go to, and a collector; ``folder/out.json``."""
    seen = folder / "seen"
    with CaptureServer() as collector:
        receiver = Receiver(folder, collector)
        receiver.start()
        with cluster(interpreter.with_name("ray"), folder) as clean:
            where = collector.environ("http/protobuf") | {"OTEL_EVENTS_GATEWAY": f"http://127.0.0.1:{PORT}"}
            done = subprocess.run(
                [interpreter, PROGRAM, seen],
                env=clean | where, capture_output=True, text=True, check=False, timeout=LONG,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr[-4000:]
            looks = [json.loads(line) for line in seen.read_text().splitlines()]
            told = json.loads(seen.with_suffix(".told").read_text())
            mine = {one["span"] for one in looks} | {one["parent"] for one in looks if one["what"] != "driver"}
            until = time.monotonic() + PATIENCE  # what is missing then, the tests name
            while not mine <= {one.span_id.hex() for one in collector.spans()} and time.monotonic() < until:
                time.sleep(0.2)
        receiver.stop(signal.SIGTERM)
        spans = [
            [one.trace_id.hex(), one.span_id.hex(), one.parent_span_id.hex(), one.name, one.attributes]
            for one in collector.spans()
        ]
        logs = [
            [one.trace_id.hex(), one.span_id.hex(), str(one.body), one.attributes] for one in collector.logs()
        ]  # fmt: skip
    (folder / "out.json").write_text(json.dumps({"looks": looks, "told": told, "spans": spans, "logs": logs}))


@pytest.fixture(scope="module")
def played() -> Iterator[dict[str, Any]]:
    interpreter = python("ray")
    with tempfile.TemporaryDirectory(prefix="oe-") as name:  # short: Ray's sockets are below it
        done = namespace.run(__name__, name, str(interpreter), timeout=2 * LONG)
        assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        yield json.loads((Path(name) / "out.json").read_text())


def test_every_part_looked_around(played: dict[str, Any]) -> None:
    assert Counter(one["what"] for one in played["looks"]) == PARTS


def test_each_is_on_the_span_of_its_attempt(played: dict[str, Any]) -> None:
    told, attempts = played["told"], defaultdict(set)
    trace = trace_id("ray", told["session"], told["job"]).hex()
    sent = {span: attributes for of, span, _, _, attributes in played["spans"] if of == trace}
    for one in played["looks"]:
        run, attempt, kind = one["run"]
        assert kind == ("workflow" if one["what"] == "driver" else "task"), one
        own = span_id("ray", told["session"], run, attempt, kind).hex()
        assert (one["trace"], one["parent"]) == (trace, own), one
        assert one["line"] == [trace, one["span"], run, attempt], one
        if "thread of" not in one["what"]:  # Ray itself does not know of that one
            assert run == one["task"], one
        if kind == "task":
            assert sent[own]["otel_events.run.id"] == run
        attempts[one["what"]].add(attempt)
    # Of a coroutine Ray does not tell the number: `async again` counts as the first each time.
    assert {what: numbers for what, numbers in attempts.items() if numbers != {1}} == {"again": {1, 2}}


def test_parts_that_run_at_the_same_time_are_told_apart(played: dict[str, Any]) -> None:
    for part in ("threaded", "async"):
        names = {f"{part} {number}" for number in range(3)}
        runs = {one["run"][0] for one in played["looks"] if one["what"] in names}
        assert len(runs) == 3
    of = {one["what"]: one["run"][0] for one in played["looks"]}
    assert all(of[f"part of async {number}"] == of[f"async {number}"] for number in range(3))


def test_records_and_lines_are_on_it_too(played: dict[str, Any]) -> None:
    by_text = defaultdict(list)
    for trace, span, text, attributes in played["logs"]:
        by_text[text].append((trace, span, attributes))
    for one in played["looks"]:
        for kind in ("standard", "structured"):
            found = by_text[f"{kind}: {one['what']}"]
            assert len(found) == PARTS[one["what"]], one["what"]
            assert (one["trace"], one["parent"]) in {(trace, span) for trace, span, _ in found}


def test_what_was_returned_is_what_ray_returns(played: dict[str, Any]) -> None:
    told = played["told"]
    for what in ("streaming", "method streaming", "async streaming"):
        assert told[what] == [0, 1, 2]
    assert told["static"] == [1, 2]
    assert told["signature"]


def test_the_user_s_own_hook_ran_and_all_was_put_back(played: dict[str, Any]) -> None:
    told = played["told"]
    assert told["hooked"] == "ran"
    assert told["untouched"]
    assert told["restored"]


if __name__ == "__main__":
    namespace.loopback_up()
    scene(Path(sys.argv[1]), Path(sys.argv[2]))
