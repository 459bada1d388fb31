"""The open roots, and what their events say of each attempt: its fold and its context, each made once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from otel_events.core.fold import Attempt, attempts, with_workflow
from otel_events.core.spans import NOWHERE, Context, derived_parent
from otel_events.core.traces import above, place
from otel_events.gateway.state import Load, OpenRoot, OpenRun
from otel_events.journal.pack import unpack
from otel_events.model.event import AnyEvent, Run
from otel_events.model.identity import span_id

CONTEXTS = 16_384
"""Contexts that are remembered; the memory is emptied when full."""
FOLDS = 4_096
"""Runs whose attempts are remembered; the memory is emptied when full."""


class Folds:
    """The roots in memory by key, and their runs' attempts.

    Attributes:
        roots: Every root that is in memory.
        upto: The commit up to which the journal is read for them.
    """

    def __init__(self, load: Load) -> None:
        self.roots: dict[bytes, OpenRoot] = {}
        self.upto = 0
        self._load = load
        self._contexts: dict[tuple[bytes, str, int], Context] = {}
        self._attempts: dict[tuple[bytes, str], tuple[int, list[Attempt]]] = {}

    def of_run(self, root: OpenRoot, run_id: str) -> Sequence[Attempt]:
        """The attempts of a run, folded once while nothing new comes: decisions, spans and children share it."""
        open_run = root.runs.get(run_id)
        if open_run is None:
            return ()
        cached = self._attempts.get((root.key, run_id))
        if cached and cached[0] == open_run.taken:
            return cached[1]
        run_attempts = [with_workflow(attempt, root.workflow()) for attempt in attempts(self._events(root, open_run))]
        if len(self._attempts) >= FOLDS:
            self._attempts.clear()
        self._attempts[(root.key, run_id)] = open_run.taken, run_attempts
        return run_attempts

    def lookup(self, root: OpenRoot) -> Callable[[str], Sequence[Attempt]]:
        """Run id -> its attempts, of the runs of one root."""
        return lambda run_id: self.of_run(root, run_id)

    def _events(self, root: OpenRoot, open_run: OpenRun) -> list[AnyEvent]:
        if open_run.events is not None:
            return open_run.events
        if open_run.packed is not None:
            return [unpack(run, packed) for run, packed in open_run.packed]
        commits = self._load(root.key, self.upto)
        return [event for events, _ in commits for event in events if event.run.id == open_run.run.id]

    def context_now(self, root: OpenRoot, run: Run, attempt: int) -> Context:
        """The context of an attempt as far as the journal says it; of an event of no run, none."""
        if not run.id:
            return NOWHERE
        if root.has_context:
            run_attempts = self.of_run(root, run.id)
            mine = next((candidate for candidate in run_attempts if candidate.run.attempt == attempt), None)
            if mine is not None:
                return place(mine, self.lookup(root))
        key = (root.key, run.id, attempt)
        where = self._contexts.get(key)
        if where is None:
            if len(self._contexts) >= CONTEXTS:
                self._contexts.clear()
            span = span_id(run.source, run.namespace, run.id, attempt, run.kind)
            where = self._contexts[key] = Context(root.key, span)
        return where

    def derived_context(self, root: OpenRoot, attempt: Attempt) -> Context:
        """``place`` for a root whose events carry no trace context: its trace id is its key, all else is derived."""
        run = attempt.run
        own = self.context_now(root, run, run.attempt)
        parent = above(run, attempt.start, self.lookup(root))
        if parent is None:
            return Context(root.key, own.span_id, derived_parent(run))
        return Context(root.key, own.span_id, self.context_now(root, parent.run, parent.run.attempt).span_id)

    def renamed(self) -> None:
        """A root has a name now that its runs take over: all that was folded is folded anew."""
        self._attempts.clear()

    def drop(self, key: bytes) -> None:
        """Forget a root and what was folded of it."""
        root = self.roots.pop(key, None)
        for run_id in root.runs if root else ():
            self._attempts.pop((key, run_id), None)
