"""The state of open runs is data: another engine can keep it as bytes, and goes on from there."""

from __future__ import annotations

import msgspec

from otel_events.core.metrics import Metrics
from otel_events.gateway.engine import Engine
from otel_events.gateway.state import OpenRoot
from otel_events.journal import Closing
from otel_events.model.event import PhaseChange, Run

RUN = Run("batch", "workflow", "job/1", "job", "job/1")
KEY = b"k" * 16


def test_a_root_is_the_same_after_it_was_bytes() -> None:
    engine = Engine(Metrics(), lambda key, upto: ())
    told = [
        PhaseChange(id=phase, time=at, run=RUN, phase=phase, native=phase, attributes={"n": at})
        for at, phase in enumerate(("pending", "running", "failed"), 1)
    ]
    engine.apply(1, {KEY: told}, {}, {KEY}, now=10)
    closing = Closing("job/1", "workflow", 1, False, True, "failed")
    engine.apply(2, {}, {KEY: [closing]}, (), now=20)
    root = engine._roots[KEY]
    kept = msgspec.msgpack.decode(msgspec.msgpack.encode(root), type=OpenRoot)
    assert kept == root
    assert kept.runs["job/1"].events == told
    assert kept.runs["job/1"].closed == {1: closing}
