"""Execution spans against the real flytekit: the same bytes on the same protobufs, in any time zone."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.live.envs import ROOT, python

PROGRAM = """
import contextlib, io, random, sys
from flyteidl.core.metrics_pb2 import Span
from flytekit.remote.metrics import FlyteExecutionSpan
from otel_events import ExecutionSpan

WORDS = "WORKFLOW_SETUP NODE_SETUP NODE_RESET NODE_IDLE TASK_SETUP TASK_RUNTIME TASK_TEARDOWN".split()
NAMES = ["n0", "start-node", "a b", "123", "null", "x: y", "é", "n" * 130, ""]

def grow(span, draw, level):
    at = draw.uniform(1.6e9, 1.75e9)
    span.start_time.seconds, span.start_time.nanos = int(at), draw.randrange(10**9)
    span.end_time.seconds, span.end_time.nanos = int(at) + draw.randrange(5000), draw.randrange(10**9)
    which = draw.choice(["operation", "workflow", "node", "task", "none"]) if level else "workflow"
    if which == "operation":
        span.operation_id = draw.choice(WORDS)
    elif which == "workflow":
        span.workflow_id.name = draw.choice(NAMES)
    elif which == "node":
        span.node_id.node_id = draw.choice(NAMES)
    elif which == "task":
        span.task_id.retry_attempt = draw.randrange(3)
    for _ in range(draw.randrange(4) if level < 5 else 0):
        grow(span.spans.add(), draw, level + 1)

def printed(span):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        span.explain()
        span.dump()
    return out.getvalue()

def same(span):
    ours = printed(ExecutionSpan.from_flyte(span))  # before flytekit changes what yaml does
    wrapped = printed(ExecutionSpan.from_flyte(FlyteExecutionSpan(span)))
    theirs = printed(FlyteExecutionSpan(span))
    assert ours == wrapped == theirs, (ours, theirs)
    return len(ours)

with open(sys.argv[1], "rb") as file:
    sizes = [same(Span.FromString(file.read()))]
for seed in range(120):
    span = Span()
    grow(span, random.Random(seed), 0)
    sizes.append(same(span))
print(len(sizes), sum(sizes))
"""


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu", "America/Phoenix"])
def test_the_same_bytes_as_flytekit(zone: str) -> None:
    span = ROOT / "tests" / "golden" / "flyte" / "spans" / "retry_span.pb"
    done = subprocess.run(
        [str(python("flytekit")), "-c", PROGRAM, str(span)],
        env={**os.environ, "TZ": zone}, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    count, size = done.stdout.split()
    assert (int(count), int(size) > 50_000) == (121, True)
