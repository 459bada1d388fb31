"""Gateway -> agent -> collector -> stores under load, each of them killed on the way and started again: all that went
in comes out, in the end."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from otel_events.model.event import AnyEvent, PhaseChange, Run
from otel_events.model.identity import span_id
from otel_events.testing import CaptureServer
from scripts.stack import Stack, free_ports
from scripts.stack_feed import post
from tests.live.stack.kit import wait_for

pytestmark = pytest.mark.timeout(1800)  # the first to ask builds the collector, where no cache has it

HOPS = ("collector", "agent", "gateway")
BATCHES, RUNS = 48, 25
KILLS = {6: "agent", 14: "collector", 22: "gateway", 30: "agent", 33: "collector", 38: "gateway"}
"""Batch -> what is killed before it; it comes back three batches later, so that twice two are away at a time."""
AWAY = 3


def batch(number: int) -> list[AnyEvent]:
    now = time.time_ns()
    found: list[AnyEvent] = []
    for at in range(RUNS):
        run = Run("batch", "task", f"run {number}-{at}", "load", f"run {number}-{at}", workflow="load")
        for phase, ago in (("running", 2_000_000), ("succeeded", 1_000_000)):
            found.append(PhaseChange(id=f"{run.id} {phase}", time=now - ago, run=run, phase=phase, native=phase))
    return found


@pytest.fixture
def stores() -> Iterator[CaptureServer]:
    with CaptureServer() as one:
        yield one


def test_what_goes_in_comes_out_whatever_is_killed(stores: CaptureServer, tmp_path: Path) -> None:
    options = ("--grace", "0")
    stack = Stack(tmp_path, free_ports(), seconds=15, traces=stores.url, logs=stores.url, gateway=options)
    try:
        stack.start(*HOPS)
        load(stack)
        expected = {
            span_id("batch", "", f"run {number}-{at}", 1, "task") for number in range(BATCHES) for at in range(RUNS)
        }
        wait_for("every span", lambda: {span.span_id for span in stores.spans()} >= expected)
        wait_for("every log record", lambda: len(told(stores)) >= 2 * len(expected))
        assert {span.span_id for span in stores.spans()} == expected
        assert set(told(stores)) == {
            (key, f"otel_events.run.{phase}") for key in expected for phase in ("running", "succeeded")
        }
    finally:
        stack.stop()


def told(stores: CaptureServer) -> Counter[tuple[bytes, str]]:
    """What the log records say, and how often: the collectors promise at least once."""
    return Counter((log.span_id, log.event_name) for log in stores.logs())


def load(stack: Stack) -> None:
    """Batch after batch, sent until it is kept, while hops go and come back."""
    back: dict[int, list[str]] = {}
    for number in range(BATCHES):
        if name := KILLS.get(number):
            stack.kill(name)
            back.setdefault(number + (0 if name == "gateway" else AWAY), []).append(name)
        for returned in back.pop(number, []):
            stack.start(returned)
        keep(stack, batch(number))


def keep(stack: Stack, events: list[AnyEvent]) -> None:
    """As a sender does that wants them kept: again and again, until they are."""

    def kept() -> bool:
        with suppress(OSError):
            post(stack.url("gateway"), events)
            return True
        return False

    wait_for("the gateway takes a batch", kept)
