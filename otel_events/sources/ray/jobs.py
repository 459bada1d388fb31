"""Jobs of Ray as its dashboard lists them: the only place that says how a job ended.

    {"session_name": "session_2026-...", "jobs": [an entry of the answer of GET /api/jobs/, ...]}

A job whose driver has called ``ray.init`` is the run that its driver's events name (by its job id); any other job is a
run of its own, under its submission id. A driver that nobody submitted is SUCCEEDED in that answer however it ended
(Ray 2.60, dashboard/modules/job/utils.py), so its entry is not used.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from otel_events.model.event import AnyEvent, Error, ErrorKind, PhaseChange, Run
from otel_events.sources.documents import parse
from otel_events.sources.ray.fields import MANY, NAME_LENGTH, Attributes, entrypoint_name, job_run, plain, put

HINT = "ray.jobs"
"""Hint of such a record."""
MILLISECOND = 1_000_000
OUTCOMES: dict[str, str] = {"SUCCEEDED": "succeeded", "FAILED": "failed", "STOPPED": "cancelled"}
"""Status of a submitted job -> outcome; PENDING and RUNNING are under way."""
LOGS = ", last available logs"
"""In a message, this stands before the last lines that the job printed, which are left out."""
USER_ERRORS = frozenset(
    {"JOB_ENTRYPOINT_COMMAND_ERROR", "JOB_ENTRYPOINT_COMMAND_START_ERROR", "RUNTIME_ENV_SETUP_FAILURE"}
)
"""error_type of failures that the job itself caused; all others are failures of Ray's supervisor."""


class Job(msgspec.Struct, gc=False):
    """One entry; times in ms. ``runtime_env`` is not read: it holds environment variables in clear."""

    type: str
    status: str
    job_id: str | None = None
    submission_id: str | None = None
    entrypoint: str = ""
    message: str | None = None
    error_type: str | None = None
    start_time: int | None = None
    end_time: int | None = None
    metadata: dict[str, str] | None = None
    driver_exit_code: int | None = None
    driver_node_id: str | None = None


class Answer(msgspec.Struct, gc=False):
    session_name: str
    jobs: list[Job]


_decoder = msgspec.json.Decoder(Answer)


def decode(record: bytes, hint: str = "") -> list[AnyEvent]:
    """The events of one answer; DecodeError names the field that does not fit. ``hint`` is not used."""
    answer = parse(_decoder, record, "jobs of Ray", "ray.md")
    return [event for job in answer.jobs for event in _events(answer.session_name, job)]


def has_run(job: Job) -> bool:
    """Whether the entry belongs to a run: it was submitted, and its driver has called ``ray.init`` or it has ended."""
    return bool(job.submission_id and (job.job_id or job.status in OUTCOMES))


def _events(session: str, job: Job) -> Iterator[PhaseChange]:
    if not has_run(job):
        return
    run = job_run(session, (job.job_id or job.submission_id or "").lower(), entrypoint_name(job.entrypoint))
    attributes = _attributes(job)
    if job.start_time:
        yield _change(run, job, "pending", "PENDING", job.start_time, attributes)
        if not job.job_id and job.driver_exit_code is not None:
            yield _change(run, job, "running", "RUNNING", job.start_time, {})
    outcome = OUTCOMES.get(job.status)
    if outcome and job.end_time:
        yield _change(run, job, outcome, job.status, job.end_time, _ended(job, attributes), _error(job))


def _attributes(job: Job) -> Attributes:
    attributes: Attributes = {}
    put(attributes, "ray.job.id", (job.job_id or "").lower())
    put(attributes, "ray.submission.id", job.submission_id or "")
    put(attributes, "ray.job.entrypoint", plain(job.entrypoint))
    for key, value in sorted((job.metadata or {}).items())[:MANY]:
        attributes[f"ray.job.metadata.{key[:NAME_LENGTH]}"] = plain(value)
    return attributes


def _ended(job: Job, attributes: Attributes) -> Attributes:
    ended = dict(attributes)
    put(ended, "ray.driver.node.id", job.driver_node_id or "")
    if job.driver_exit_code is not None:
        ended["ray.driver.exit_code"] = job.driver_exit_code
    return ended


def _error(job: Job) -> Error | None:
    if job.status != "FAILED":
        return None
    kind: ErrorKind = "user" if job.error_type in USER_ERRORS else "system" if job.error_type else ""
    return Error(job.error_type or "", plain((job.message or "").partition(LOGS)[0]), kind)


def _change(
    run: Run,
    job: Job,
    phase: str,
    native: str,
    at: int,
    attributes: Attributes,
    error: Error | None = None,
) -> PhaseChange:
    return PhaseChange(
        id=f"jobs.{job.submission_id}.{native}.{at}",
        time=at * MILLISECOND,
        run=run,
        attributes=attributes,
        phase=phase,
        native=native,
        reason=plain((job.message or "").partition(LOGS)[0]) if phase not in ("pending", "running") else "",
        error=error,
    )
