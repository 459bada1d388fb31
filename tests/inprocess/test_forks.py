"""The warning of a fork beside threads (Python 3.12): not of ours, but where there are others."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings

import pytest

from otel_events.inprocess import forks
from otel_events.testing import Answer, CaptureServer
from tests.patience import PATIENCE, PATIENT

PROGRAM = """
import os, sys, threading
import otel_events

@otel_events.task(name="step")
def step(): ...

otel_events.configure()
step()
if "own thread" in sys.argv:
    waits = threading.Event()
    threading.Thread(target=waits.wait, daemon=True).start()
for _ in range(2):
    if os.fork() == 0:
        step()
        sys.exit(0)
    os.wait()
if "late thread" in sys.argv:
    waits = threading.Event()
    threading.Thread(target=waits.wait, daemon=True).start()
    if os.fork() == 0:
        sys.exit(0)
    os.wait()
"""


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
@pytest.mark.parametrize(("threads", "warned"), [("none", 0), ("own thread", 2), ("late thread", 1)])
def test_a_fork_is_warned_of_where_the_program_has_threads_of_its_own(
    threads: str, warned: int, protocol: str, collector: CaptureServer
) -> None:
    """With warnings shown each time."""
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", PATIENT + PROGRAM, threads],
        env=os.environ | collector.environ(protocol),  # type: ignore[arg-type]  # one of the two
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 0
    said = [text for text in done.stderr.splitlines() if not text.startswith("  ")]  # the line of code that is meant
    assert len(said) == (warned if sys.version_info >= (3, 12) else 0)
    assert all("is multi-threaded, use of fork() may" in text for text in said)
    assert [span.name for span in collector.spans()] == ["step"] * 3


UNDER_WAY = """
import os, time
import otel_events
from otel_events.inprocess import process

@otel_events.task(name="step")
def step(): ...

otel_events.configure()
step()
counts = process._active._destination._gateway._delivery.counts
while not any(count.queued for count in counts().values()):
    time.sleep(0.01)
time.sleep(0.2)  # until the call has begun: a longer way there would only leave nothing to be seen
if os.fork() == 0:
    os._exit(0)
os.wait()
print(os.environ.get("GRPC_VERBOSITY"), flush=True)
os._exit(0)
"""


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_a_fork_while_a_request_is_under_way_writes_nothing(protocol: str) -> None:
    with CaptureServer() as silent:
        silent.answers.extend([Answer(silent=True)] * 10)
        done = subprocess.run(
            [sys.executable, "-c", UNDER_WAY],
            env=os.environ | silent.environ(protocol),  # type: ignore[arg-type]  # one of the two
            capture_output=True,
            text=True,
            check=True,
            timeout=PATIENCE,
        )
    assert (done.stdout, done.stderr) == ("None\n", "")


def test_the_filters_of_the_host_are_as_they_were_in_a_child_and_after_the_next_fork() -> None:
    with warnings.catch_warnings():
        before = list(warnings.filters)
        forks._before()
        forks._before()
        assert len(warnings.filters) <= len(before) + 1
        forks._take_back()
        assert list(warnings.filters) == before
