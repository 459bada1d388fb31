"""What a store should answer, the plain way: events in a dict by their key, everything else worked out from them."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import strategies as st

from otel_events.clearml_server.store import IMAGE, LOG, PLOT, SCALAR, SINGLE_VALUE, Owner, SqliteStore

NOW = 1_700_000_000_000
TASK = Owner("t")

Event = dict[str, Any]

iterations = st.one_of(
    st.integers(-3, 12), st.sampled_from([SINGLE_VALUE, SINGLE_VALUE - 5, 2**63 - 1, -(2**63), 1 << 40])
)
_iter_field: st.SearchStrategy[dict[str, Any]] = st.one_of(
    iterations.map(lambda n: {"iter": n}),
    st.just({}),
    st.just({"iter": None}),
    st.integers(0, 9).map(lambda n: {"iter": str(n)}),
)
_names = st.sampled_from(["", "a", "a-b", "b-c", "é", "x' OR 1=1"])
_values = st.one_of(st.integers(-5, 5), st.floats(-1e6, 1e6), st.sampled_from([0.1, 2**24 + 3, 10**30, 3e38, 1e300]))
_times = st.one_of(st.integers(0, 50), st.floats(0, 50)).map(lambda ms: NOW + ms)


def _built(kind: str, *parts: dict[str, Any]) -> Event:
    event: Event = {"type": kind, "task": TASK.id}
    for part in parts:
        event |= part
    return event


def _with(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(fields)


scalars = st.builds(
    lambda *parts: _built(SCALAR, *parts),
    _with(metric=_names, variant=_names, value=st.one_of(_values, st.none()), timestamp=_times),
    _iter_field,
    st.sampled_from([{}, {"extra": {"deep": [1, None]}}, {"worker": "w2"}]),
)
images = st.builds(
    lambda *parts: _built(IMAGE, *parts),
    _with(metric=_names, variant=_names, url=st.sampled_from(["u1", "u2"]), timestamp=_times),
    _iter_field,
    st.sampled_from([{}, {"key": "k"}, {"key": ""}]),
)
plots = st.builds(
    lambda *parts: _built(PLOT, *parts),
    _with(metric=_names, variant=_names, plot_str=st.sampled_from(["", "{}", "x" * 5000]), timestamp=_times),
    _iter_field,
)
lines = st.builds(
    lambda *parts: _built(LOG, *parts),
    _with(msg=st.text(max_size=5), timestamp=_times),
    st.sampled_from([{}, {"iter": 3}]),
)
events = st.one_of(scalars, scalars, images, plots, lines)


@contextmanager
def fresh() -> Iterator[SqliteStore]:
    """A store for one example of a property."""
    with TemporaryDirectory() as folder:
        store = SqliteStore(Path(folder) / "s.db")
        try:
            yield store
        finally:
            store.close()


def returned(event: Event) -> Event:
    """An event as it comes back, without what the server adds."""
    back = {name: value for name, value in event.items() if name not in ("@timestamp", "model_event")}
    back.setdefault("metric", "")
    back.setdefault("variant", "")
    back.setdefault("worker", "w")
    if back.get("iter") is not None:
        back["iter"] = int(back["iter"])
    if event["type"] == PLOT:
        back["plot_len"] = len(event["plot_str"])
    return back


def key(event: Event) -> tuple[Any, ...]:
    back = returned(event)
    iteration = ("iter" in back, back.get("iter"))
    return (back["type"], back["metric"], back["variant"], iteration, back.get("key"))


def stored(sent: Iterable[Event]) -> list[Event]:
    """What is there after all of them: the last of each key, every log line."""
    last: dict[Any, Event] = {}
    for number, event in enumerate(sent):
        last[number if event["type"] == LOG else key(event)] = returned(event)
    return list(last.values())


def float32(value: float) -> float:
    if not math.isfinite(value) or abs(value) > 3.4028234663852886e38:
        return float(value)
    rounded: float = struct.unpack("f", struct.pack("f", value))[0]
    return rounded


def buckets(points: Iterable[tuple[int, float | None]], interval: int) -> dict[int, float | None]:
    """{key: mean of the float32 values}"""
    grouped: dict[int, list[float]] = {}
    for x, value in points:
        of = grouped.setdefault(x // interval * interval, [])
        if value is not None:
            of.append(float32(value))
    return {x: math.fsum(of) / len(of) if of else None for x, of in sorted(grouped.items())}
