"""Generators of runs and events for property tests: one root with several runs and attempts, told well and badly."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import strategies as st

from otel_events.model.event import PHASES, AnyEvent, Error, Kind, Link, Log, PhaseChange, Report, Run, Scalar, Stat

START = 1_767_225_600_000_000_000
"""2026-01-01T00:00:00Z, where generated times begin (ns)."""
SECOND = 1_000_000_000

words = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=12)
"""Anything a source may call something: no NUL, no surrogates."""
times = st.integers(START, START + 20 * SECOND) | st.sampled_from([START, START + 1, START + 5 * SECOND])
"""Close together, and often the very same."""
scalars: st.SearchStrategy[Scalar] = (
    words | st.integers(-(2**63), 2**63 - 1) | st.booleans() | st.floats() | st.sampled_from([0, 1, 1.0, True, "1"])
)
attributes = st.dictionaries(st.sampled_from(["a", "b", "c", "otel_events.cache.status"]), scalars, max_size=3)
errors = st.builds(Error, words, words, st.sampled_from(["user", "system", ""]), st.sampled_from(["", "Traceback ..."]))
links = st.builds(
    Link,
    st.sampled_from(["launched_by", "cached_from", "follows"]),
    st.sampled_from(["other", "third"]),
    st.just("task"),
    st.sampled_from(["other-root"]),
)
phases = st.sampled_from(sorted(PHASES)) | st.just("unheard of")


@st.composite
def runs(draw: st.DrawFn, source: str = "flyte", namespace: str = "p/d", root: str = "p/d/x") -> list[Run]:
    """The runs of one root: the root, nodes under it or under one another, tasks under nodes; 1 to 6 of them."""
    found = [Run(source, "workflow", root, "flow", root, None, 1, namespace, "flow")]
    for number in range(draw(st.integers(0, 5))):
        above = draw(st.sampled_from(found))
        kind: Kind = "task" if above.kind == "node" else "node"
        found.append(
            Run(source, kind, f"{root}/{number}", f"step{number}", root, above.id, 1, namespace, "flow", above.kind)
        )
    return found


@st.composite
def events_of(draw: st.DrawFn, told: list[Run], counted: bool = False) -> AnyEvent:
    """One event of one of these runs; some fields of the run left out, as later events of real sources do."""
    run = draw(st.sampled_from(told))
    run = msgspec.structs.replace(run, attempt=0 if counted else draw(st.integers(0, 3)))
    if draw(st.booleans()):
        run = msgspec.structs.replace(run, name="", workflow="", parent=None, parent_kind="")
    common: dict[str, Any] = {
        "id": f"e{draw(st.integers(0, 60))}",
        "time": draw(times),
        "run": run,
        "attributes": draw(attributes),
        "links": tuple(draw(st.lists(links, max_size=2))),
    }
    shape = draw(st.sampled_from(["phase", "phase", "phase", "stat", "log", "report"]))
    if shape == "stat":
        return Stat(**common, name="loss", value=draw(st.floats()))
    if shape == "log":
        return Log(**common, message=draw(words))
    if shape == "report":
        return Report(**common, name="deck", uri=draw(words))
    phase = draw(phases)
    following = counted and draw(st.booleans())
    error = draw(st.none() | errors)
    return PhaseChange(**common, phase=phase, native=phase.upper(), error=error, next_attempt=following)


@st.composite
def roots(draw: st.DrawFn) -> list[AnyEvent]:
    """The events of one root, 0 to 25 of them, as wild as a source could send them: several with one id among them."""
    told = draw(runs())
    return draw(st.lists(events_of(told, counted=draw(st.booleans())), max_size=25))
