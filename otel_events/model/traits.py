"""What a source does differently, as data: a source declares it, the core loops over it and knows no source (law 14).

TRAITS = Traits(kinds={"task": KindTraits(may_go_back=True)}, workflow_from_root=True)
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from otel_events.model.family import Family


class KindTraits(msgspec.Struct, frozen=True):
    """What holds for the runs of one kind (workflow, node, task) of a source."""

    may_go_back: bool = False
    """A change from running back to pending is legal: the source reports it, or two clocks make it look so."""
    echoes: frozenset[tuple[str, str]] = frozenset()
    """(outcome, phase reported after it) that are expected: the late phase is absorbed and not counted as illegal."""
    next_only_after_run: bool = False
    """The same call begins the first attempt or another one: what was reset before it ran, or is started while it
    runs, goes on; what ended, or is reset while it runs, begins again."""
    cancel_overrules_success: bool = False
    """An attempt that is reported both as succeeded and as cancelled was cancelled."""
    abort_may_be_deadline: bool = False
    """``cancelled`` is also what a deadline looks like: a later attempt or the parent's outcome proves it."""
    finalizing_may_be_last: bool = False
    """A root whose ``finalizing`` may be the last that is heard of it: it is closed after Timing.orphans."""


class RunningGauge(msgspec.Struct, frozen=True):
    """A gauge that counts the runs of ``kind`` that are in ``phase``; ``name``: only those of that name, "" for any.

    The first row of a source that fits a run takes it. A family without labels gets the sum.
    """

    family: Family
    kind: str
    phase: str = "running"
    name: str = ""


class EndCounter(msgspec.Struct, frozen=True):
    """A counter of the attempts whose last native state is ``native``."""

    family: Family
    native: str


class Traits(msgspec.Struct, frozen=True):
    """What a source does differently. The default is a source without peculiarities."""

    kinds: dict[str, KindTraits] = {}
    workflow_from_root: bool = False
    """Only the root reports the name of the workflow: the runs below it take it over."""
    namespace_is_session: bool = False
    """The namespace is one start of a cluster: new with each start, so it is no label (law 7)."""
    stats_need_names: bool = False
    """Its stats carry the id of a run alone; the name is known from earlier events of the run and becomes the label."""
    trace_id: Callable[[str], bytes | None] | None = None
    """Root id -> trace id as the source's own SDK derives it; None for a root that takes the common derivation."""
    gauges: tuple[RunningGauge, ...] = ()
    endings: tuple[EndCounter, ...] = ()

    def of(self, kind: str) -> KindTraits:
        """The traits of one kind of run."""
        return self.kinds.get(kind, PLAIN)

    def families(self) -> tuple[Family, ...]:
        """The metric families that this source adds, in the order in which they are shown."""
        return (*[row.family for row in self.gauges], *[row.family for row in self.endings])


PLAIN = KindTraits()
NO_TRAITS = Traits()
TraitsOf = Callable[[str], Traits]
"""Name of a source (``Run.source``) -> its traits."""
