"""What is over, and when: timers that come due, and the closings that are decided then.

A decision is journalled with the next commit and applied with it; nothing here changes what is known of a run.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence

import msgspec

from otel_events.core.fold import Attempt, settled
from otel_events.core.traces import outcome_of, parent_id
from otel_events.gateway.folds import Folds
from otel_events.gateway.state import SURE, OpenRoot, OpenRun, Timing
from otel_events.gateway.unended import unended
from otel_events.journal import Closing


class Timer(msgspec.Struct, order=True, gc=False):
    """When an attempt is looked at again; of two for one time, the one that was set first goes first.

    Times are in ns of the gateway's clock.
    """

    at: int
    serial: int
    first: int
    """When the outcome was reported for which this was first set."""
    root: bytes
    run: str
    """"" for the whole root: what never ended is closed with it."""
    attempt: int


class _Look(msgspec.Struct, gc=False):
    """One look at a run: which timer came due, now, and the timers that have to be set again after the pass."""

    timer: Timer
    now: int
    root: OpenRoot
    again: list[Timer]


class Decider:
    """The timers of all roots."""

    def __init__(self, folds: Folds, timing: Timing) -> None:
        self._folds, self._timing = folds, timing
        self._due: list[Timer] = []
        self._serial = 0

    def after_grace(self, root: OpenRoot, run: str, attempt: int, now: int) -> None:
        """Look at an attempt once its grace is over."""
        self._set(Timer(now + self._timing.grace, 0, now, root.key, run, attempt))

    def after_orphans(self, root: OpenRoot, now: int) -> None:
        """Look at a whole root once what never ended below it has had time to come."""
        self._set(Timer(now + self._timing.orphans, 0, now, root.key, "", 0))

    def _set(self, timer: Timer) -> None:
        self._serial += 1
        timer.serial = self._serial
        heapq.heappush(self._due, timer)

    def decide(self, now: int) -> dict[bytes, list[Closing]]:
        """What is over as of ``now``: closings by root, to be journalled with the next commit and then applied."""
        decisions: dict[bytes, list[Closing]] = {}
        taken: set[tuple[bytes, str, int]] = set()
        again: list[Timer] = []
        while self._due and self._due[0].at <= now:
            timer = heapq.heappop(self._due)
            root = self._folds.roots.get(timer.root)
            if root is None:
                continue
            look = _Look(timer, now, root, again)
            for closing in self._look_at_run(look) if timer.run else self._unended(root):
                # Two timers of one pass may find the same: it is decided once.
                if (root.key, closing.run, closing.attempt) not in taken:
                    taken.add((root.key, closing.run, closing.attempt))
                    decisions.setdefault(root.key, []).append(closing)
        for timer in again:
            self._set(timer)
        return decisions

    def _look_at_run(self, look: _Look) -> Iterator[Closing]:
        timer, root, now = look.timer, look.root, look.now
        open_run = root.runs.get(timer.run)
        if open_run is None:
            return
        run = open_run.run
        if open_run.plain and open_run.closed is None and open_run.outcome in SURE:
            yield Closing(run.id, run.kind, timer.attempt, False, True, open_run.outcome)
            if run.id == run.root:
                self._orphans_later(look)
            return
        if not run.attempt and now < open_run.told_at + self._timing.grace:
            return  # more was reported since: the timer of that comes
        run_attempts = self._folds.of_run(root, run.id)
        for index, attempt in enumerate(run_attempts):
            # Attempts that the fold counts have no number of their own: any timer of their run is for all of them.
            if attempt.outcome and attempt.start and (attempt.run.attempt == timer.attempt or not run.attempt):
                yield from self._look_at_attempt(look, open_run, run_attempts, index)

    def _look_at_attempt(
        self, look: _Look, open_run: OpenRun, run_attempts: Sequence[Attempt], index: int
    ) -> Iterator[Closing]:
        attempt = run_attempts[index]
        run, number = attempt.run, attempt.run.attempt
        later = any(other.start for other in run_attempts[index + 1 :])
        ended = outcome_of(self._folds.lookup(look.root), parent_id(run))
        outcome = settled(attempt, later, ended)
        over = number in open_run.done()
        # The next attempt of a task whose attempts are reported may be yet to come: its parent's end says, or time.
        retryable = open_run.run.attempt > 0 and run.kind == "task" and outcome not in SURE
        decided = later or not retryable or bool(ended) or look.now - look.timer.first >= self._timing.neighbours
        for other in run_attempts[:index] if decided and not later else ():
            if other.start and not other.outcome and other.run.attempt not in open_run.done():
                yield Closing(run.id, run.kind, other.run.attempt, True, False, "")  # its end will not come any more
        if not over and (decided or outcome != "cancelled"):
            yield Closing(run.id, run.kind, number, False, decided and not later, outcome)
        elif over and decided and not later and not open_run.finished:
            yield Closing(run.id, run.kind, 0, False, True, outcome)
        if not decided:
            at = look.now + self._timing.grace
            look.again.append(Timer(at, 0, look.timer.first, look.root.key, run.id, number))
        if run.id == run.root and not later:
            self._orphans_later(look)

    def _orphans_later(self, look: _Look) -> None:
        """The root has its outcome: what never ended below it is closed once it has had time to come."""
        look.again.append(Timer(look.now + self._timing.orphans, 0, look.now, look.root.key, "", 0))

    def _unended(self, root: OpenRoot) -> Iterator[Closing]:
        return unended(root, self._folds.lookup(root))

    def silent(self, now: int) -> dict[bytes, list[Closing]]:
        """Closings of roots from which nothing came for ``max_open``; a pass over all roots, to be made rarely."""
        decisions = {}
        for key, root in self._folds.roots.items():
            if now - root.touched >= self._timing.max_open and (closings := list(self._unended(root))):
                decisions[key] = closings
        return decisions

    def drain(self) -> dict[bytes, list[Closing]]:
        """Decide all that has an outcome, without waiting: the end of a short-lived process."""
        timing, self._timing = self._timing, Timing(grace=0, neighbours=0, orphans=0)
        try:
            return self.decide(1 << 63)
        finally:
            self._timing = timing
