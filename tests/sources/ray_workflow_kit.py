"""A storage of Ray 2.47.1 as it was left by two sessions, as it stood at earlier moments, and what Ray said of it then.

``tests/golden/ray_workflow/storage.json``: path -> text of each file (pickles of outputs and arguments are empty, for
nobody reads them); ``captures.jsonl``: each call of ``ray.workflow.get_metadata`` with its result or error.
"""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).parents[1] / "golden" / "ray_workflow"
STORED: dict[str, str] = json.loads((GOLDEN / "storage.json").read_text())
CAPTURES: list[dict[str, Any]] = [json.loads(line) for line in (GOLDEN / "captures.jsonl").read_text().splitlines()]

Changes = dict[str, str | None]
"""Path -> other text, or None: no such file."""


def status(workflow: str, word: str) -> Changes:
    return {f"{workflow}/workflow_meta.json": json.dumps({"status": word})}


def begun(workflow: str, at: float) -> Changes:
    return {f"{workflow}/pre_run_metadata.json": json.dumps({"start_time": at})}


def ended(workflow: str, at: float | None) -> Changes:
    return {f"{workflow}/post_run_metadata.json": None if at is None else json.dumps({"end_time": at})}


def running(workflow: str) -> Changes:
    return status(workflow, "RUNNING") | ended(workflow, None)


def _note(workflow: str, text: str) -> Changes:
    return {f"{workflow}/user_run_metadata.json": text}


def task_open(workflow: str, task: str) -> Changes:
    return dict.fromkeys(f"{workflow}/tasks/{task}/{name}" for name in ("post_task_metadata.json", "output.pkl"))


def task_waits(workflow: str, task: str) -> Changes:
    return task_open(workflow, task) | {f"{workflow}/tasks/{task}/pre_task_metadata.json": None}


_MESSAGE = "ray.workflow.api.wait_for_event.locals.get_message"
_COMMITTED = "ray.workflow.api.wait_for_event.locals.message_committed"
_FIRST_TRY: Changes = {"resume1/tasks/nf/pre_task_metadata.json": json.dumps({"start_time": 1795219710.426309})}

STAGES: dict[str, Changes] = {
    "seed workflow": (
        begun("trip1", 1795219701.1858776)
        | ended("trip1", 1795219703.285964)
        | _note("trip1", '{"k2": "v2"}')
    ),
    "immediately after run_async": running("run1") | begun("run1", 1795219705.7667396) | task_waits("run1", "slow"),
    "running workflow": running("run1") | task_open("run1", "slow") | task_waits("run1", "after"),
    "before cancel": running("cancel1"),
    "before resume": (
        status("resume1", "FAILED")
        | begun("resume1", 1795219710.405889)
        | ended("resume1", 1795219710.4342043)
        | task_open("resume1", "nf")
        | _FIRST_TRY
    ),
    "running again after resume (stale end_time?)": (
        status("resume2", "RUNNING") | ended("resume2", 1795219711.5166564) | task_open("resume2", "nf")
    ),
    "event waiting": running("event1") | task_open("event1", _MESSAGE) | task_waits("event1", _COMMITTED),
    "pending get_metadata q2": (
        status("q2", "PENDING")
        | ended("q2", None)
        | {"q2/pre_run_metadata.json": None}
        | task_waits("q2", "s")
    ),
    "q2 now running?": running("q2") | task_open("q2", "s"),
}  # fmt: skip
"""How the storage differed when a capture was made, by what is known from the capture itself and from Ray's source: the
status, which files were not there yet, and times and metadata that a later run overwrote."""

SAME_STAGE: dict[str, str] = {
    "running task": "running workflow",
    "pending (not started) task": "running workflow",
    "before resume task": "before resume",
    "task running again": "running again after resume (stale end_time?)",
    "event task waiting": "event waiting",
    "pending task": "pending get_metadata q2",
    "q2 task": "q2 now running?",
}
GONE = frozenset({"ray options task"})
"""Captures of a workflow that was deleted afterwards: nothing is left to read."""


def stage(label: str) -> Changes:
    """What was different when the capture of that label was made."""
    return STAGES.get(SAME_STAGE.get(label, label), {})


def build(folder: Path, changes: Changes | None = None, only: str = "") -> Path:
    """Write the storage into a folder, its files dated by ``modified``; ``only``: one workflow of it."""
    for path, text in {**STORED, **(changes or {})}.items():
        if text is None or (only and not path.startswith((f"{only}/", "__status__/"))):
            continue
        file = folder / "workflows" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        kind, _, rest = text.partition(":")
        file.write_bytes(base64.b64decode(rest) if kind == "base64" else text.encode())
    return folder


def touch(folder: Path, path: str, at: float) -> None:
    """Date a file of the storage: seconds since the epoch."""
    ns = int(at * 1e9)
    os.utime(folder / "workflows" / path, ns=(ns, ns))
