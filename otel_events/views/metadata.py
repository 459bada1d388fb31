"""``get_metadata``: metadata of a workflow or of one of its tasks, in the shape of ``ray.workflow.get_metadata``.

    otel_events.get_metadata("trip1")                                       # of any run in the journal
    otel_events.get_metadata("trip1", "trip", storage="/mnt/ray-storage")   # of a workflow in Ray's own storage

    {'status': 'SUCCESSFUL', 'user_metadata': {...}, 'stats': {'start_time': 1795219701.18, 'end_time': ...}}
    {'task_id': 'trip', 'task_options': {'task_type': 'FUNCTION', 'max_retries': 3, 'catch_exceptions': False,
     'retry_exceptions': False, 'checkpoint': True, 'ray_options': {...}}, 'user_metadata': {...}, 'workflow_refs': [],
     'stats': {...}}

Times are float seconds since the epoch. An unknown id is a ValueError in Ray's words. Of Ray's storage the answer is
Ray's own, key by key; of a recorded run the keys are the same, and None stands for an option that its source does not
tell.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from typing import Any, Protocol

from otel_events.core.spans import NANO
from otel_events.core.traces import Closed, close_all, parent_id
from otel_events.journal import Journal, Reader, RootRow
from otel_events.journal.place import journal_path
from otel_events.model.errors import RunNotFound
from otel_events.model.event import AnyEvent, PhaseChange, Run
from otel_events.model.telemetry import Attributes
from otel_events.sources.ray_workflow import storage as ray
from otel_events.sources.ray_workflow.files import Files, open_storage

STATUS: dict[str, str] = {
    "pending": "PENDING",
    "running": "RUNNING",
    "paused": "RUNNING",
    "finalizing": "RUNNING",
    "succeeded": "SUCCESSFUL",
    "failed": "FAILED",
    "crashed": "FAILED",
    "timed_out": "FAILED",
    "cancelled": "CANCELED",
    "skipped": "CANCELED",
}
"""Phase -> Ray's word. RESUMABLE is used for Ray's workflows only: of others nobody knows whether they can be
resumed."""

USER_TEXTS = ("ray.workflow.user_metadata", "prefect.run.labels")
"""Attributes that hold a user's mapping as JSON."""
USER_PREFIXES = ("ray.job.metadata.", "flyte.label.")
"""Beginnings of attributes that hold one entry each of a user's mapping."""
USER_SOURCES = frozenset({"python", "events"})
"""Sources whose attributes are the user's own, but for those under CODE."""
CODE = ("code.", "otel_events.", "cicd.")
MAX_RETRIES = ("ray.workflow.max_retries", "prefect.retries")
"""Attributes with the number of times that a task may be retried."""
OPTIONS = ("catch_exceptions", "retry_exceptions", "checkpoint")
UPSTREAM = frozenset({"depends_on", "follows"})
LISTED = 1_000
"""Most runs in one list, those with the most recent event first."""


class Runs(Protocol):
    """Where workflows are looked up."""

    def get_metadata(self, workflow_id: str, task_id: str | None = None) -> dict[str, Any]:
        """ValueError for an unknown id."""

    def get_status(self, workflow_id: str) -> str:
        """One of Ray's words. RunNotFound for an unknown id."""

    def list_all(self, status_filter: Collection[str] | str | None = None) -> list[tuple[str, str]]:
        """(workflow id, status). ValueError for a word that is no status."""


def get_metadata(
    workflow_id: str, task_id: str | None = None, *, storage: str = "", journal: str = ""
) -> dict[str, Any]:
    """Metadata of a workflow, or of one of its tasks.

    Args:
        workflow_id: Id of the workflow.
        task_id: A task of it: the id of its run, Ray's task id, or the name of its definition, numbered ``_1``, ``_2``
            from the second on.
        storage: Folder or URL that was given to ``ray.init(storage=...)`` (Ray 2.47 and earlier); "" for the journal.
        journal: Path of the journal; "" for $OTEL_EVENTS_JOURNAL, else the one in the user's state folder.

    Returns:
        The keys that the head of this module lists.

    Raises:
        ValueError: ``No such workflow_id 'X'`` or ``No such task_id 'T' in workflow 'X'``.
        ConfigError: The storage cannot be read.
        JournalError: The journal cannot be read.
    """
    with closing(_opened(storage, journal)) as runs:
        return runs.get_metadata(workflow_id, task_id)


def get_status(workflow_id: str, *, storage: str = "", journal: str = "") -> str:
    """Status of a workflow, in Ray's words.

    Args:
        workflow_id: Id of the workflow.
        storage: As in ``get_metadata``.
        journal: As in ``get_metadata``.

    Raises:
        RunNotFound: There is no such workflow.
        ConfigError: The storage cannot be read.
        JournalError: The journal cannot be read.
    """
    with closing(_opened(storage, journal)) as runs:
        return runs.get_status(workflow_id)


def list_all(
    status_filter: Collection[str] | str | None = None, *, storage: str = "", journal: str = ""
) -> list[tuple[str, str]]:
    """(workflow id, status) of workflows.

    Args:
        status_filter: A status or several, in Ray's words; None for all.
        storage: As in ``get_metadata``.
        journal: As in ``get_metadata``.

    Raises:
        ValueError: A word of the filter is no status.
        ConfigError: The storage cannot be read.
        JournalError: The journal cannot be read.
    """
    with closing(_opened(storage, journal)) as runs:
        return runs.list_all(status_filter)


def _opened(storage: str, journal: str) -> Stored | Recorded:
    return Stored(open_storage(storage)) if storage else Recorded(Journal.reader(journal_path(journal)))


class Stored:
    """Workflows in a storage of Ray's."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def close(self) -> None:
        """Nothing is held open."""

    def get_metadata(self, workflow_id: str, task_id: str | None = None) -> dict[str, Any]:
        return ray.get_metadata(self._files, workflow_id, task_id)

    def get_status(self, workflow_id: str) -> str:
        return ray.get_status(self._files, workflow_id)

    def list_all(self, status_filter: Collection[str] | str | None = None) -> list[tuple[str, str]]:
        return ray.list_all(self._files, status_filter)


class Recorded:
    """Runs in a journal, of any source. Not for several threads at once."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def close(self) -> None:
        """Let go of the journal."""
        self._reader.close()

    def get_metadata(self, workflow_id: str, task_id: str | None = None) -> dict[str, Any]:
        runs = self._runs(workflow_id)
        if not runs:
            ray.no_workflow(workflow_id)
        if task_id is None:
            return _workflow(runs.get(workflow_id, ()))
        return _task(runs, workflow_id, task_id)

    def get_status(self, workflow_id: str) -> str:
        attempts = self._runs(workflow_id).get(workflow_id)
        if not attempts:
            raise RunNotFound(f"Workflow[id={workflow_id}] was referenced but doesn't exist.")
        return _status(attempts[-1])

    def list_all(self, status_filter: Collection[str] | str | None = None) -> list[tuple[str, str]]:
        wanted = ray.statuses(status_filter)
        return [(name, status) for name, status in self._listed() if status in wanted]

    def _listed(self) -> Iterator[tuple[str, str]]:
        for row in self._reader.roots(order="recent", limit=LISTED):
            events = [event for event in _events(self._reader, row) if event.run.id == row.root]
            if any(isinstance(event, PhaseChange) for event in events):
                closed = close_all(events)[0]
                if closed and _is_workflow(closed[-1].attempt.run):
                    yield row.root, _status(closed[-1])

    def _runs(self, workflow_id: str) -> dict[str, list[Closed]]:
        """Run id -> attempts by number, of a workflow and all runs below it. Where clusters or projects share the id,
        the most recently written one. Empty for an unknown id."""
        rows = self._reader.find_run(workflow_id)
        if not workflow_id or not rows:
            return {}
        row = max(rows, key=lambda candidate: (candidate.written, candidate.key))
        runs: dict[str, list[Closed]] = defaultdict(list)
        for closed in close_all(_events(self._reader, row))[0]:
            runs[closed.attempt.run.id].append(closed)
        for members in runs.values():
            members.sort(key=lambda closed: closed.attempt.run.attempt)
        own = runs.get(workflow_id)
        if own and not _is_workflow(own[0].attempt.run):
            return {}
        return dict(runs) if workflow_id == row.root else _below(runs, workflow_id)


def _is_workflow(run: Run) -> bool:
    """Whether the run can be looked up as a workflow. A task that is a root counts too: a task of ClearML, or a
    decorated function that was called alone."""
    return run.kind == "workflow" or (run.kind == "task" and run.id == run.root)


def _events(reader: Reader, row: RootRow) -> list[AnyEvent]:
    return [event for chunk in reader.root_chunks(row.key, records=False) for event in chunk.events]


def _below(runs: dict[str, list[Closed]], top: str) -> dict[str, list[Closed]]:
    """The run ``top`` and those under it, however deep."""
    below = {top}
    for run_id in runs:
        path = [run_id]
        while path[-1] in runs and path[-1] not in below and len(path) <= len(runs):
            path.append(parent_id(runs[path[-1]][0].attempt.run) or "")
        if path[-1] in below:
            below.update(path)
    return {run_id: members for run_id, members in runs.items() if run_id in below}


def _workflow(attempts: Sequence[Closed]) -> dict[str, Any]:
    """Metadata of the last attempt; without ``status``, as in Ray, where the journal has only its tasks."""
    if not attempts:
        return {"user_metadata": {}, "stats": {}}
    last = attempts[-1]
    return {"status": _status(last), "user_metadata": _user_metadata(last), "stats": _stats(last)}


def _task(runs: dict[str, list[Closed]], workflow_id: str, task_id: str) -> dict[str, Any]:
    names = _task_ids(runs, workflow_id)
    by_name = {name: run_id for run_id, name in names.items()}
    run_id = task_id if task_id in names else by_name.get(task_id, "")
    if not run_id:
        ray.no_task(task_id, workflow_id)
    last = runs[run_id][-1]
    return {
        "task_id": names[run_id],
        "task_options": _options(last.attempt.attributes),
        "user_metadata": _user_metadata(last),
        "workflow_refs": _refs(last, names),
        "stats": _stats(last),
    }


def _task_ids(runs: dict[str, list[Closed]], workflow_id: str) -> dict[str, str]:
    """Run id -> task id: Ray's own, else the name, numbered in the order in which runs of that name began."""
    counted: Counter[str] = Counter()
    ids: dict[str, str] = {}
    for run_id, members in sorted(runs.items(), key=lambda item: (item[1][0].attempt.start, item[0])):
        if run_id == workflow_id:
            continue
        own = members[-1].attempt.attributes.get("ray.workflow.task_id")
        run = members[-1].attempt.run
        name = run.name or run.workflow or run_id.rsplit("/", 1)[-1]
        ids[run_id] = str(own) if own else f"{name}_{counted[name]}" if counted[name] else name
        counted[name] += not own
    return ids


def _status(last: Closed) -> str:
    attempt = last.attempt
    if attempt.run.source == "ray" and attempt.native in ray.STATUSES:
        return attempt.native
    return STATUS[last.outcome or attempt.phases[-1].phase]


def _stats(last: Closed) -> dict[str, float]:
    """Start and end in seconds; empty for a run that never ran, without ``end_time`` while it runs."""
    attempt = last.attempt
    start = attempt.first_running or (attempt.start if last.outcome == "succeeded" else 0)
    if not start:
        return {}
    return {"start_time": start / NANO} | ({"end_time": attempt.end / NANO} if last.outcome else {})


def _options(attributes: Attributes) -> dict[str, Any]:
    return {
        "task_type": attributes.get("ray.workflow.task_type", "FUNCTION"),
        "max_retries": next((attributes[name] for name in MAX_RETRIES if name in attributes), None),
        **{name: attributes.get(f"ray.workflow.{name}") for name in OPTIONS},
        "ray_options": _mapping(attributes.get("ray.workflow.ray_options")),
    }


def _user_metadata(last: Closed) -> dict[str, Any]:
    attributes, mapping = last.attempt.attributes, dict[str, Any]()
    for name in USER_TEXTS:
        mapping |= _mapping(attributes.get(name))
    for key, value in attributes.items():
        prefix = next((candidate for candidate in USER_PREFIXES if key.startswith(candidate)), None)
        if prefix:
            mapping[key.removeprefix(prefix)] = value
        elif last.attempt.run.source in USER_SOURCES and not key.startswith(CODE):
            mapping[key] = value
    return mapping


def _mapping(text: object) -> dict[str, Any]:
    """A mapping from JSON text; empty where the text was cut or masked, so that it is no JSON any more."""
    try:
        value = json.loads(text) if isinstance(text, str) else {}
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _refs(last: Closed, names: dict[str, str]) -> list[str]:
    attempt = last.attempt
    try:
        refs = json.loads(str(attempt.attributes.get("ray.workflow.refs", "")))
    except (ValueError, RecursionError):
        refs = None
    if isinstance(refs, list):
        return [str(ref) for ref in refs]
    return [names[link.id] for link in attempt.links if link.relation in UPSTREAM and link.id in names]
