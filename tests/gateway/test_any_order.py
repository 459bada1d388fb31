"""Whatever events come, in whatever order and batches: the gateway tells what replay tells, and keeps to what it told.

The events are drawn, not captured: attempts numbered or counted, phases backwards, outcomes twice, parents that never
came, ties in time, unknown phases, logs and stats.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from otel_events.core.metrics import Metrics
from otel_events.gateway import state
from otel_events.gateway.delivery import Delivery
from otel_events.gateway.gateway import Every, Gateway
from otel_events.gateway.state import Timing
from otel_events.journal import Journal
from otel_events.model.event import AnyEvent, Error, Log, PhaseChange, Run, Scalar, Stat
from otel_events.testing import Memory, capture
from tests.gateway import kit
from tests.gateway.kit import LONG, NOON, SECOND

NAMES = ("w", "w/n", "w/n/t", "w/u", "lost")
KINDS = {"w": "workflow", "w/n": "node", "w/n/t": "task", "w/u": "task", "lost": "task"}
PARENTS = {"w/n": "w", "w/n/t": "w/n", "lost": "never seen"}
ATTRIBUTES: st.SearchStrategy[dict[str, Scalar]] = st.dictionaries(
    st.sampled_from(["a", "otel_events.cache.status"]), st.sampled_from(["x", "y"]), max_size=2
)
PHASES = ("pending", "running", "paused", "finalizing", "succeeded", "failed", "crashed", "cancelled", "skipped", "odd")
HOT = (0, 8, 50_000)
"""Events in memory: none, some, all."""


@st.composite
def events(draw: st.DrawFn) -> list[AnyEvent]:
    """Events of one or two roots. Of a run, either all attempts are numbered or none is."""
    source = draw(st.sampled_from(["batch", "flyte"]))
    counted = {name: draw(st.booleans()) for name in NAMES}
    found: list[AnyEvent] = []
    for number in range(draw(st.integers(1, 14))):
        name = draw(st.sampled_from(NAMES))
        root = draw(st.sampled_from(["", "", "2"]))
        run = Run(
            source,
            KINDS[name],  # type: ignore[arg-type]  # one of the three
            name + root,
            draw(st.sampled_from(["", "train"])),
            "w" + root,
            parent=PARENTS[name] + root if name in PARENTS else None,
            parent_kind="node" if name == "w/n/t" else "",
            attempt=0 if counted[name] else draw(st.sampled_from([1, 1, 2, 3])),
        )
        found.append(_event(draw, run, str(number), NOON + draw(st.integers(1, 9)) * SECOND))
    return found


def _event(draw: st.DrawFn, run: Run, own: str, time: int) -> AnyEvent:
    what = draw(st.sampled_from(["phase"] * 6 + ["log", "stat"]))
    if what == "log":
        return Log(id=own, time=time, run=run, message="told", attributes=draw(ATTRIBUTES))
    if what == "stat":
        return Stat(id=own, time=time, run=run, name="loss", value=float(draw(st.integers(0, 5))))
    phase = draw(st.sampled_from(PHASES))
    error = Error("Broken", "it broke", "user") if phase in ("failed", "crashed") else None
    again = run.attempt == 0 and phase in ("pending", "running") and draw(st.booleans())
    return PhaseChange(
        id=own,
        time=time,
        run=run,
        phase=phase,
        native=phase,
        error=error,
        next_attempt=again,
        attributes=draw(ATTRIBUTES),
    )


def opened(path: Path, memory: Memory, now: list[int], hot: int, until: ExitStack) -> Gateway:
    """A gateway that sends to ``memory`` and holds about so many events in its own; its clock is ``now[0]``. Closed
    with ``until`` at the latest: hypothesis gives up an example anywhere."""
    journal = Journal.open(path, durability="normal", clock=lambda: now[0])
    every = Every(metrics=10**9 * SECOND)
    delivery = Delivery(memory.senders, {})
    gateway = Gateway(journal, Metrics(), delivery, timing=Timing(), clock=lambda: now[0], every=every)
    gateway._engine._memory = state.Memory(hot)
    until.callback(gateway.drain_and_close, 0)
    return gateway


def batches(drawn: list[AnyEvent], rng: Random) -> Iterator[list[AnyEvent]]:
    """The events and a third of them again, in any order and any pieces."""
    offered = rng.sample(drawn, len(drawn)) + rng.choices(drawn, k=len(drawn) // 3)
    while offered:
        size = rng.randrange(1, len(offered) + 1)
        yield offered[:size]
        offered = offered[size:]


def pass_time(gateway: Gateway, now: list[int], seconds: Iterable[float]) -> None:
    for more in seconds:
        now[0] += round(more * SECOND)
        gateway.tick()
    kit.settle(gateway)


@given(events(), st.randoms(use_true_random=False))
def test_any_events_in_any_order_while_nothing_is_closed(drawn: list[AnyEvent], rng: Random) -> None:
    kept, metrics, _ = kit.replayed("events", kit.recorded(drawn))
    memory, now = capture(), [NOON + 3600 * SECOND]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as until:
        gateway = opened(Path(folder) / "journal.db", memory, now, rng.choice(HOT), until)
        for batch in batches(drawn, rng):
            gateway.offer("batch", batch)
        pass_time(gateway, now, LONG)
        assert gateway.health().open_roots == 0
        gateway.drain_and_close(1)
    found = kit.decoded(kit.once(memory).values())
    expected = kit.decoded(kept.raw().values())
    assert found == kit.less_parents(found, expected)
    assert kit.counted(gateway._metrics) == kit.counted(metrics)


@settings(max_examples=max(1, settings().max_examples // 2))
@given(events(), st.randoms(use_true_random=False))
def test_any_pauses_and_crashes(drawn: list[AnyEvent], rng: Random) -> None:
    """Spans go out while more is still to come, and the gateway is lost between any two batches: a span that comes
    twice has the same bytes, no attempt is without one, and in the end nothing is open."""
    memory, now = capture(), [NOON + 3600 * SECOND]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as until:
        place = Path(folder)
        gateway = opened(place / "journal.db", memory, now, rng.choice(HOT), until)
        for number, batch in enumerate(batches(drawn, rng)):
            gateway.offer("batch", batch)
            pass_time(gateway, now, [rng.choice([0.0, 1.0, 11.0, 61.0, 400.0])])
            if rng.random() < 0.5:
                copied = place / f"{number}.db"
                shutil.copyfile(gateway._journal.path, copied)
                shutil.copyfile(f"{gateway._journal.path}-wal", f"{copied}-wal")
                gateway.drain_and_close(0)
                gateway = opened(copied, memory, now, rng.choice(HOT), until)
        pass_time(gateway, now, LONG)
        assert gateway.health().open_roots == 0
        assert kit.value(gateway, "otel_events_runs_active") == 0
        gateway.drain_and_close(1)
    found = kit.by_id(memory)
    numbered = [event for event in drawn if event.run.attempt]
    assert found.keys() >= kit.replayed("events", kit.recorded(numbered))[0].raw().keys()
    logs = set(kit.raw(memory, "logs"))
    assert len(logs) <= len(drawn)
