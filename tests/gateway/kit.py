"""A gateway over a real journal, a real collector on loopback and a clock that a test moves; and records to give it."""

from __future__ import annotations

import resource
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from otel_events.core.metrics import COMMON, Metrics
from otel_events.core.traces import Closed
from otel_events.gateway.delivery import Delivery
from otel_events.gateway.gateway import Every, Gateway
from otel_events.gateway.state import Timing
from otel_events.intake.ingest import DeadLetter
from otel_events.intake.records import Record, Refused
from otel_events.journal import Journal
from otel_events.model.errors import JournalError
from otel_events.model.event import AnyEvent, Log, PhaseChange, Run
from otel_events.model.telemetry import LogData, SpanData
from otel_events.otlp import encode_span, from_env, sender, traces_request
from otel_events.otlp.config import Protocol
from otel_events.replay.replay import Line, Summary, replay
from otel_events.replay.sinks import logs_of, spans_of
from otel_events.testing import CaptureServer, Received
from tests.corpus import CORPUS, needs_corpus
from tests.patience import HOURS
from tests.patience import until as until

SECOND = 10**9
NOON = 1_790_000_000 * SECOND
"""When the runs begin that tests make up."""
GOLDEN = Path(__file__).resolve().parents[1] / "golden"
LONG = (11.0, 11.0, 61.0, 301.0, 11.0, 61.0, 8 * 86_400.0, 11.0, 61.0)
"""Seconds to let pass, one after the other, until nothing is left to decide: each wait of Timing, and what follows."""


# --- records ---------------------------------------------------------------------------------------------------------

Case = tuple[str, Path]
ORDERS = ("captured", "reversed", "random")


def _found() -> tuple[list[Case], list[Case]]:
    """(golden, of the corpus only) Flyte scenarios and Prefect captures: (source, folder or file)."""
    golden = [("flyte", path) for path in sorted(GOLDEN.glob("flyte/*")) if path.name not in ("spans", "transports")]
    golden += [("prefect", path) for path in sorted(GOLDEN.glob("prefect/*"))]
    have = {path.name for _, path in golden}
    more = [("flyte", path) for path in sorted(CORPUS.glob("flyte/scenarios/*")) if path.name not in have]
    more += [("prefect", path) for path in sorted(CORPUS.glob("prefect/s*.jsonl")) if path.stem not in have]
    return golden, more


def cases() -> list[Any]:
    """(source, folder or file) of every Flyte scenario and Prefect capture: the golden ones, then others."""
    golden, more = _found()
    return [pytest.param(*case, id=f"{case[0]}-{case[1].name}") for case in golden] + [
        pytest.param(*case, id=f"{case[0]}-{case[1].name}", marks=needs_corpus) for case in more
    ]


def ordered_cases() -> list[Any]:
    """(source, folder or file, order): the golden ones in all orders, the other ones of the corpus in random order."""
    golden, more = _found()
    return [pytest.param(*case, order, id=f"{case[1].name}-{order}") for case in golden for order in ORDERS] + [
        pytest.param(*case, "random", id=f"{case[1].name}-random", marks=needs_corpus) for case in more
    ]


def records(source: str, path: Path) -> list[Record]:
    """The records of a case, in the order in which they were captured."""
    files = [path] if path.is_file() else sorted(path.glob("*.pb")) or sorted(path.glob("records.*"))
    found = []
    for file in files:
        body = file.read_bytes()
        bodies = body.splitlines() if file.suffix == ".jsonl" else [body]
        found += [Record(one, file.name, f"{file.name}:{at}") for at, one in enumerate(bodies, 1)]
    return found


def golden(source: str, name: str) -> list[Record]:
    return records(source, GOLDEN / source / name)


def run_of(
    own: str, root: str = "", attempt: int = 1, kind: str = "task", source: str = "batch", name: str = "", **more: Any
) -> Run:
    """A made-up run of id ``own``; a root unless ``root`` names another."""
    return Run(source, kind, own, name or own, root or own, attempt=attempt, **more)  # type: ignore[arg-type]  # kind


def change(run: Run, phase: str, at: float, **more: Any) -> PhaseChange:
    """``run`` comes into ``phase`` at so many seconds after NOON."""
    own = f"{run.id}:{run.attempt}:{phase}:{at}"
    time_ns = NOON + round(at * SECOND)
    return PhaseChange(id=own, time=time_ns, run=run, phase=phase, native=phase.upper(), **more)


def line(run: Run, text: str, at: float) -> Log:
    return Log(id=f"{run.id}:{text}", time=NOON + round(at * SECOND), run=run, message=text)


def recorded(events: Iterable[AnyEvent]) -> list[Record]:
    """Our own events as records of the source ``events``."""
    return [Record(msgspec.json.encode(event), "", f"event {at}") for at, event in enumerate(events)]


# --- gateways --------------------------------------------------------------------------------------------------------


class World:
    """A journal, a collector and a clock; gateways over them come and go."""

    def __init__(self, folder: Path, collector: CaptureServer, protocol: Protocol = "http/protobuf") -> None:
        self.path = folder / "journal.db"
        self.collector = collector
        self.protocol = protocol
        self.now = NOON + 3600 * SECOND
        self.opened: list[Gateway] = []

    def clock(self) -> int:
        return self.now

    def open(
        self,
        timing: Timing = Timing(),  # noqa: B008  # immutable
        every: Every = Every(),  # noqa: B008  # immutable
        *,
        limit: int = 64 << 20,
        max_bytes: int = 1 << 30,
        max_age: float = 7 * 86_400.0,
        tags: Sequence[str] = (),
        **exporter: Any,
    ) -> Gateway:
        # A request that a slow machine answers late is not sent again.
        config = from_env(self.collector.environ(self.protocol) | {"OTEL_EXPORTER_OTLP_TIMEOUT": str(HOURS)})
        clock = exporter.get("clock")
        senders = [sender(endpoint, clock) for endpoint in config.endpoints.values()]
        exporter = {"limit": limit, "jitter": lambda: 0.01} | exporter
        journal = Journal.open(
            self.path, durability="normal", max_bytes=max_bytes, max_age_ns=int(max_age * SECOND), clock=self.clock
        )
        gateway = Gateway(
            journal,
            Metrics(start=self.now, tags=tags),
            Delivery(senders, config.resource, **exporter),
            timing=timing,
            clock=self.clock,
            every=every,
        )
        self.opened.append(gateway)
        return gateway

    def close(self) -> None:
        for gateway in self.opened:
            gateway.drain_and_close(0)

    def copy(self, folder: Path, collector: CaptureServer) -> World:
        """The same as a crash at this very moment leaves it: the files as they are, nothing closed."""
        folder.mkdir()
        world = World(folder, collector, self.protocol)
        for name in ("journal.db", "journal.db-wal"):
            if (self.path.parent / name).exists():
                shutil.copyfile(self.path.parent / name, folder / name)
        world.now = self.now
        return world

    def wait_not(self, gateway: Gateway, *seconds: float) -> None:
        """Let time pass, tick by tick, and do not wait for the collector."""
        for more in seconds:
            self.now += round(more * SECOND)
            with suppress(JournalError):  # it says so until it has room
                gateway.tick()

    def wait(self, gateway: Gateway, *seconds: float) -> None:
        """Let time pass, tick by tick, and let what came of it arrive."""
        for more in seconds or (0.0,):
            self.now += round(more * SECOND)
            gateway.tick()
        settle(gateway)


def settle(gateway: Gateway) -> None:
    """Until the collector has said yes to everything there is."""

    def sent() -> bool:
        gateway.tick()
        health = gateway.health()
        return health.sent_seq == health.last_seq

    until(sent)


@contextmanager
def no_room() -> Iterator[None]:
    """No file of this process can grow, nor be written beyond its first KiB: what a full or failing disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def unsend(path: Path) -> None:
    """Let the journal forget what was sent, as a crash before any checkpoint would have it."""
    with Journal.open(path) as journal:
        journal.sent_seq = 0


# --- what came out ---------------------------------------------------------------------------------------------------


def parts(message: bytes, *path: int) -> Iterator[bytes]:
    """The bytes, as sent, of the length-delimited fields at a path of field numbers (protobuf wire format)."""
    if not path:
        yield message
        return
    for number, value in _fields(message):
        if number == path[0]:
            yield from parts(value, *path[1:])


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == 0:
            _, at = _varint(message, at)
        elif kind == 2:
            size, at = _varint(message, at)
            yield tag >> 3, message[at : at + size]
            at += size
        else:
            at += 8 if kind == 1 else 4


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def raw(received: Received, signal: str) -> list[bytes]:
    """The bytes of each span or log record that came, in order."""
    return [item for one in received.requests if one.signal == signal for item in parts(one.body, 1, 2, 2)]


def span_id(span: bytes) -> bytes:
    return next(parts(span, 2))


def by_id(received: Received) -> dict[bytes, bytes]:
    """Raw spans by id; AssertionError where one came twice with other bytes."""
    found: dict[bytes, bytes] = {}
    for one in raw(received, "traces"):
        assert found.setdefault(span_id(one), one) == one, "a span came twice with other bytes"
    return found


def once(received: Received) -> dict[bytes, bytes]:
    """Raw spans by id; AssertionError where one came twice."""
    found = raw(received, "traces")
    assert [i for i, n in Counter(map(span_id, found)).items() if n > 1] == []
    return by_id(received)


def decoded(spans: Iterable[bytes]) -> dict[bytes, SpanData]:
    """As plain structs, by id."""
    received = Received()
    received.store("traces", "memory", {}, traces_request(list(spans), b"", b""))
    return {one.span_id: one for one in received.spans()}


def less_parents(found: dict[bytes, SpanData], expected: dict[bytes, SpanData]) -> dict[bytes, SpanData]:
    """``expected`` with the parents of ``found`` that never came."""
    return {
        key: msgspec.structs.replace(one, parent_span_id=found[key].parent_span_id)
        if key in found and found[key].parent_span_id not in found
        else one
        for key, one in expected.items()
    }


def told(logs: Iterable[LogData]) -> set[tuple[Any, ...]]:
    """What each log record says, and of which attempt; not whether it was late."""
    return {(one.time, one.body, one.event_name, one.trace_id, one.span_id) for one in logs}


RUN_FAMILIES = ("otel_events_runs_active", "otel_events_oldest_run_start_time_seconds")


def counted(metrics: Metrics) -> dict[str, Any]:
    """The families of runs and stats that a reader sees, but for the gauges of what is under way: name -> points."""
    return {
        one.name: [point for point in one.points if not _zero(point)]
        for one in metrics.collect(0)
        if one.label_names[: len(COMMON)] == COMMON and one.name not in RUN_FAMILIES
    }


def _zero(point: Any) -> bool:
    """A series that stands at 0 so that its first increase shows."""
    return not getattr(point, "count", 0) and not getattr(point, "value", 0)


def value(gateway: Gateway, family: str, **labels: str) -> float:
    """Sum of the samples of a metric, as /metrics shows them, that have these labels."""
    from prometheus_client.parser import text_string_to_metric_families

    body = gateway.exposition("text/plain")[0].decode()
    return sum(
        sample.value
        for one in text_string_to_metric_families(body)
        for sample in one.samples
        if sample.name == family and labels.items() <= sample.labels.items()
    )


class Kept:
    """A replay's sink that keeps what it is given."""

    def __init__(self) -> None:
        self.spans: list[SpanData] = []
        self.logs: list[LogData] = []
        self.dead: list[DeadLetter] = []

    def write(self, closed: list[Closed], lines: list[Line]) -> None:
        self.spans += spans_of(closed)
        self.logs += logs_of(lines)

    def finish(self, metrics: Metrics, dead: list[DeadLetter]) -> None:
        self.dead += dead

    def raw(self) -> dict[bytes, bytes]:
        return {one.span_id: encode_span(one) for one in self.spans}


def replayed(source: str, given: Iterable[Record | Refused]) -> tuple[Kept, Metrics, Summary]:
    """What a replay of the records gives."""
    kept, metrics = Kept(), Metrics()
    with Journal.temporary() as journal:
        summary = replay(source, given, journal=journal, sink=kept, metrics=metrics)
    return kept, metrics, summary
