"""The poller of a storage of Ray workflows: makes records of what has changed, for ``ray_workflow.decode``.

A poll reads the index (``__status__``), the folders of workflows that are not over there, and those whose entry in the
index has changed; in these folders only files written since the last poll. Neither Ray nor its files number attempts,
so they are counted here: a workflow or task that begins once more (resumed, run again, retried) is another attempt.
After a restart ``recall`` gives the attempts that the journal has.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from otel_events.model.event import Error
from otel_events.model.times import SECOND, from_seconds
from otel_events.sources.ray_workflow import storage as names
from otel_events.sources.ray_workflow.decode import OVER, Facts, Options, TaskFacts, task_run_id
from otel_events.sources.ray_workflow.files import Files, key, open_storage, read_json
from otel_events.sources.ray_workflow.pickled import plain_exception
from otel_events.sources.source import LastAttempt

SETTLE = 2 * SECOND
"""How long files may disagree. Two starts less than this apart are one start, since Ray writes it at submission and
again at execution. An end that is missing for less is about to be written, since Ray writes the status first."""
TASKS_READ = 10_000
"""Most tasks of one workflow that are read."""
LONGEST = 32 * 1024
"""Characters of a text of the user (metadata, options); longer texts are cut."""
SECRET_OPTIONS = frozenset({"runtime_env"})
"""Options of a task that hold environment variables in clear: only their names are recorded."""

_logger = logging.getLogger("otel_events")


Recall = Callable[[str], Mapping[str, LastAttempt]]
"""Root id -> run id -> the last attempt that the journal has of it."""


def records(url: str, namespace: str = "") -> Iterator[tuple[str, bytes]]:
    """(where, record) of every workflow in a storage at this moment, for a replay."""
    yield from Poller(open_storage(url), namespace).poll(2**63 - 1)


class Poller:
    """Polls one storage. Call ``acknowledge`` when the records of the last ``poll`` are in the journal: only then the
    next poll leaves them out."""

    def __init__(
        self,
        files: Files,
        namespace: str = "",
        recall: Recall = lambda root: {},
        max_age: int | None = None,
    ) -> None:
        """
        Args:
            files: The storage.
            namespace: Namespace of its runs.
            recall: The attempts of a root that the journal has.
            max_age: Nanoseconds after which a workflow that is over is not read, because the journal's retention has
                removed it; None to read all.
        """
        self._files, self._namespace, self._recall, self._max_age = files, namespace, recall, max_age
        self._attempts: dict[str, dict[str, LastAttempt]] = {}
        self._journalled: dict[str, dict[str, Any]] = {}
        self._index: dict[str, tuple[str, int]] = {}
        self._cache: dict[str, tuple[int, dict[str, Any]]] = {}
        self._pending: list[Callable[[], None]] = []

    def poll(self, now: int) -> list[tuple[str, bytes]]:
        """(where, record) of each workflow that has changed, in the order of ids. ConfigError where the storage cannot
        be read. ``now`` is in nanoseconds."""
        self._pending = []
        index = self._listed()
        for gone in self._attempts.keys() - index.keys():
            self._forget(gone)
        changed = []
        for workflow_id in sorted(index):
            status, written = index[workflow_id]
            if self._settled(workflow_id, status, written, now):
                continue
            record = self._look(workflow_id, (status, written), now)
            if record is not None:
                changed.append((f"{self._files.url}: {workflow_id}", record))
        return changed

    def acknowledge(self) -> None:
        """The records of the last ``poll`` are in the journal."""
        for keep in self._pending:
            keep()
        self._pending = []

    def _listed(self) -> dict[str, tuple[str, int]]:
        """Workflow id -> (status, when it was written): the index, and with status "" the folders that it lacks."""
        listed = names.indexed(self._files)
        for name in self._files.names(""):
            if name != names.INDEX:
                listed.setdefault(name, ("", 0))
        return {workflow_id: entry for workflow_id, entry in listed.items() if key(workflow_id)}

    def _settled(self, workflow_id: str, status: str, written: int, now: int) -> bool:
        """Whether nothing can have changed since all was journalled, or the workflow has been over for too long."""
        if self._index.get(workflow_id) == (status, written):
            return True
        old = self._max_age is not None and written and now - written > self._max_age
        return bool(old and status in OVER)

    def _forget(self, workflow_id: str) -> None:
        self._attempts.pop(workflow_id, None)
        self._index.pop(workflow_id, None)
        self._read(workflow_id)

    def _read(self, workflow_id: str) -> None:
        """Drop what was read of a workflow."""
        self._journalled.pop(workflow_id, None)
        self._cache = {path: entry for path, entry in self._cache.items() if not path.startswith(f"{workflow_id}/")}

    # --- one workflow ----------------------------------------------------------------------------------------------

    def _look(self, workflow_id: str, index: tuple[str, int], now: int) -> bytes | None:
        """The record of what has changed; None where nothing has, or where the files are not complete yet."""
        facts = self._facts(workflow_id)
        if not facts.status or _unsettled(facts, now):
            return None
        attempts = self._attempts.get(workflow_id)
        if attempts is None:
            attempts = self._attempts[workflow_id] = dict(self._recall(workflow_id))
        before = attempts.get(workflow_id, LastAttempt())
        if facts.status not in OVER and before.over and before.start == facts.start:
            return None  # resumed, and Ray has not written the new start yet
        tasks = self._tasks(facts)
        new_attempts = {workflow_id: _next(before, facts.start, facts.status in OVER, SETTLE)}
        facts.attempt, facts.start = new_attempts[workflow_id].attempt, new_attempts[workflow_id].start
        _explain(facts, tasks)
        for task in tasks:
            run_id = task_run_id(workflow_id, task.id)
            over = bool(task.end or task.failed or facts.status in OVER)
            new_attempts[run_id] = _next(attempts.get(run_id, LastAttempt()), task.start, over, 0)
            task.attempt = new_attempts[run_id].attempt
        return self._record(facts, tasks, new_attempts, index)

    def _record(
        self, facts: Facts, tasks: list[TaskFacts], attempts: dict[str, LastAttempt], index: tuple[str, int]
    ) -> bytes | None:
        journalled = self._journalled.get(facts.id, {})
        # The end of a task may follow from the end of its workflow: when that changes, all open tasks are sent again.
        head = msgspec.structs.replace(facts, tasks=[])
        same = journalled.get("") == head
        changed = [task for task in tasks if journalled.get(task.id) != task or not (same or task.end)]
        fresh = {"": head, **{task.id: task for task in tasks}}

        def keep() -> None:
            self._attempts[facts.id].update(attempts)
            self._journalled[facts.id] = fresh
            if facts.status in OVER:  # it is not read again until its entry in the index changes
                self._index[facts.id] = index
                self._read(facts.id)

        self._pending.append(keep)
        if same and not changed:
            return None
        facts.tasks = changed
        return json.dumps(msgspec.to_builtins(facts)).encode()  # its own escapes: names may be no Unicode

    # --- files -----------------------------------------------------------------------------------------------------

    def _facts(self, workflow_id: str) -> Facts:
        folder, files = key(workflow_id) or "", self._files
        written = files.modified(f"{folder}/{names.META}")
        start = from_seconds(read_json(files, f"{folder}/{names.BEGUN}").get("start_time"))
        status = names.status_of(files, folder)
        end = from_seconds(read_json(files, f"{folder}/{names.ENDED}").get("end_time"))
        return Facts(
            workflow_id,
            self._namespace,
            status=status,
            changed=written,
            start=start,
            end=end if status in ("SUCCESSFUL", "FAILED") and end >= start else 0,
            user_metadata=_text(read_json(files, f"{folder}/{names.USER}")),
        )

    def _tasks(self, facts: Facts) -> list[TaskFacts]:
        """Each task of a workflow by id, with its parent; sets the workflow's name."""
        folder = key(facts.id) or ""
        folders: dict[str, dict[str, int]] = {}
        for path, written in self._files.walk(f"{folder}/{names.TASKS}"):
            task_id, _, name = path.rpartition("/")
            if task_id in folders or len(folders) < TASKS_READ:
                folders.setdefault(task_id, {})[name] = written
        if len(folders) >= TASKS_READ:
            _logger.warning("workflow %s has over %d tasks: the others are not looked at", facts.id, TASKS_READ)
        main = self._json(f"{folder}/{names.TASKS}/{names.OUTPUTS}", folders.pop("", {}).get(names.OUTPUTS, 0))
        tasks = {
            task_id: self._task(f"{folder}/{names.TASKS}/{task_id}", task_id, files)
            for task_id, files in sorted(folders.items())
            if names.INPUTS in files
        }
        outputs = {
            task_id: _id(self._json(f"{folder}/{names.TASKS}/{task_id}/{names.OUTPUTS}", files[names.OUTPUTS]))
            for task_id, files in folders.items()
            if names.OUTPUTS in files
        }
        facts.name = self._base(folder, _id(main))
        for task in tasks.values():
            task.name = self._base(folder, task.id)
        claimed = _claim(tasks, outputs, _id(main))
        return [task for task in tasks.values() if task.id in claimed or facts.status in OVER]

    def _task(self, place: str, task_id: str, written: dict[str, int]) -> TaskFacts:
        def read(name: str) -> dict[str, Any]:
            return self._json(f"{place}/{name}", written[name]) if name in written else {}

        inputs = read(names.INPUTS)
        start = from_seconds(read(names.TASK_BEGUN).get("start_time"))
        end = from_seconds(read(names.TASK_ENDED).get("end_time"))
        options = inputs.get("task_options")
        refs = inputs.get("workflow_refs")
        task = TaskFacts(
            task_id,
            created=written[names.INPUTS],
            start=start,
            end=end if end >= start > 0 else 0,
            options=_options(options),
            ray_options=_ray_options(options),
            user_metadata=_text(inputs.get("user_metadata")),
            refs=[ref for ref in refs if isinstance(ref, str)] if isinstance(refs, list) else [],
        )
        when = written.get(names.EXCEPTION)
        if when is not None and start and not task.end and (when >= start or not when):
            task.failed = when or -1
            body = self._files.read(f"{place}/{names.EXCEPTION}") or b""
            task.error_type, task.error_message = plain_exception(body)
        return task

    def _json(self, path: str, written: int) -> dict[str, Any]:
        """The JSON object in a file. It is read again only if it was written again, or if the storage has no dates."""
        before = self._cache.get(path)
        if before and written and before[0] == written:
            return before[1]
        content = read_json(self._files, path)
        self._cache[path] = written if content else 0, content
        return content

    def _base(self, folder: str, task_id: str) -> str:
        """The name of a task without the number that Ray appends when several tasks have the same name."""
        base, _, number = task_id.rpartition("_")
        counter = key(folder, "duplicate_name_counter", base) if base and number.isdecimal() else None
        count = self._files.read(counter) if counter else None
        return base if count and count.strip().isdigit() and int(number) <= int(count[:9]) else task_id


def _unsettled(facts: Facts, now: int) -> bool:
    """Whether the end that belongs to the status may still be written."""
    return facts.status in ("SUCCESSFUL", "FAILED") and not facts.end and now - facts.changed < SETTLE


def _next(before: LastAttempt, start: int, over: bool, same_within: int) -> LastAttempt:
    """The attempt that a start belongs to, after the attempt ``before``."""
    if not start or start == before.start:
        return LastAttempt(before.attempt, before.start or start, over or before.over)
    if not before.start and not before.over:
        return LastAttempt(before.attempt, start, over)
    if not before.over and abs(start - before.start) < same_within:
        return LastAttempt(before.attempt, before.start, over)
    return LastAttempt(before.attempt + 1, start, over)


def _explain(facts: Facts, tasks: list[TaskFacts]) -> None:
    """Set the cause of a failed workflow: the last task that raised, else the only one that began and never ended."""
    if facts.status != "FAILED":
        return
    raised = [task for task in tasks if task.failed and not task.options.catch_exceptions]
    open_ = [task for task in tasks if task.start and not task.end and not task.failed]
    if raised:
        last = max(raised, key=lambda task: (task.failed, task.id))
        facts.cause = Error(last.error_type, last.error_message, "user")
    elif len(open_) == 1:
        facts.lost = open_[0].id
        facts.cause = Error("", f"the worker of task {facts.lost} died", "system")


def _claim(tasks: dict[str, TaskFacts], outputs: dict[str, str], main: str) -> set[str]:
    """Set the parent of each continuation, which is the task that returned it. Returns the ids of all tasks of the
    tree: those that the output needs, and those that its continuations need."""
    claimed: set[str] = set()
    creators = [("", main)]
    for creator, output in creators:
        wanted = [output]
        while wanted:
            task = tasks.get(wanted.pop())
            if task is None or task.id in claimed:
                continue
            claimed.add(task.id)
            task.parent = creator
            wanted += reversed(task.refs)
            if task.id in outputs:
                creators.append((task.id, outputs[task.id]))
    return claimed


def _id(outputs: dict[str, Any]) -> str:
    task_id = outputs.get("output_task_id")
    return task_id if isinstance(task_id, str) else ""


def _options(value: object) -> Options:
    if not isinstance(value, dict):
        return Options()
    types = {"task_type": str, "max_retries": int}
    fits = {name: value.get(name) for name in Options.__struct_fields__}
    return Options(**{k: v for k, v in fits.items() if type(v) is types.get(k, bool)})  # type: ignore[arg-type]  # checked here


def _ray_options(task_options: object) -> str:
    options = task_options.get("ray_options") if isinstance(task_options, dict) else None
    if not isinstance(options, dict):
        return ""
    return _text({name: "[left out]" if name in SECRET_OPTIONS else value for name, value in options.items()})


def _text(value: object) -> str:
    """A mapping of the user as JSON, in its own order."""
    return json.dumps(value)[:LONGEST] if isinstance(value, dict) else ""
