"""Events for the journal's tests: a plain one, and strategies that draw any that a decoder could make."""

from __future__ import annotations

from hypothesis import strategies as st

from otel_events.model.event import PHASES, AnyEvent, Error, Link, Log, PhaseChange, Report, Run, Stat
from otel_events.model.identity import trace_id

SECOND = 10**9


def run(root: str = "r1", id_: str = "", name: str = "train") -> Run:
    return Run(source="events", kind="task", id=id_ or f"{root}/a", name=name, root=root, namespace="prod")


def event(root: str = "r1", number: int = 0, size: int = 0) -> Log:
    return Log(id=f"{root}:{number}", time=1_000 + number, run=run(root), message="x" * size)


def key(root: str = "r1") -> bytes:
    return trace_id("events", "prod", root)


TEXT = st.text(st.characters(exclude_categories=()), max_size=8)  # with lone surrogates and NUL
INTS = st.one_of(st.integers(), st.integers(-(2**66), 2**66), st.sampled_from([2**63 - 1, 2**63, 2**64 - 1, 2**64]))
FLOATS = st.floats(allow_nan=True, allow_infinity=True)
SCALARS = st.one_of(TEXT, INTS, FLOATS, st.booleans())
KINDS = st.sampled_from(["workflow", "node", "task"])
LINKS = st.lists(
    st.builds(Link, TEXT, TEXT, KINDS, TEXT, INTS, TEXT, st.none() | TEXT), max_size=2,
).map(tuple)  # fmt: skip
ERRORS = st.none() | st.builds(Error, TEXT, TEXT, st.sampled_from(["user", "system", ""]), TEXT)
RUNS = st.builds(Run, TEXT, KINDS, TEXT, TEXT, TEXT, st.none() | TEXT, INTS, TEXT, TEXT, TEXT)
SHARED = {
    "id": TEXT,
    "time": INTS,
    "run": RUNS,
    "attributes": st.dictionaries(TEXT, SCALARS, max_size=3),
    "links": LINKS,
}
EVENTS: st.SearchStrategy[AnyEvent] = st.one_of(
    st.builds(
        PhaseChange, phase=st.sampled_from(list(PHASES)), native=TEXT, reason=TEXT, error=ERRORS,
        next_attempt=st.booleans(), **SHARED,
    ),
    st.builds(
        Stat, name=TEXT, value=FLOATS | INTS, type=st.sampled_from(["gauge", "timer"]), unit=TEXT,
        step=st.none() | INTS, tags=st.dictionaries(TEXT, TEXT, max_size=2), **SHARED,
    ),
    st.builds(Log, message=TEXT, severity=st.integers(1, 24), logger=TEXT, event_name=TEXT, **SHARED),
    st.builds(Report, name=TEXT, media_type=TEXT, uri=TEXT, content=TEXT, step=st.none() | INTS, **SHARED),
)  # fmt: skip
