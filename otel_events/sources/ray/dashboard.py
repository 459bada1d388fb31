"""The client of a Ray dashboard: polls its jobs, and reads its tasks once, for what ran before the export was received.

Everything is bounded: the time to connect and to answer, the bytes of an answer, the number of tasks. No redirect is
followed and no proxy of the environment is used, so that the token goes only to the configured address.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import msgspec
import urllib3

from otel_events.model.errors import ConfigError, SourceError
from otel_events.sources.ray.jobs import OUTCOMES, Job, has_run
from otel_events.sources.ray.state import Task

LARGEST = 64 << 20
"""Bytes of one answer."""
CONNECT, READ = 3.0, 15.0
"""Seconds."""
TASKS = 10_000
"""Tasks asked for in the one call; Ray refuses a higher limit."""
REMEMBERED = 20_000
"""Jobs that are remembered as journalled. Beyond that all are read again; the journal drops the duplicates."""

_logger = logging.getLogger("otel_events")


class Dashboard:
    """The dashboard of one cluster.

    Args:
        url: Address of the dashboard, without user and password.
        token: Called for each request, so that a renewed token is used; "" for none.
        session: Name of the session, for a dashboard that does not say it.

    Raises:
        ConfigError: The url is not one of HTTP or HTTPS.
    """

    def __init__(self, url: str, token: Callable[[], str] = lambda: "", session: str = "") -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise ConfigError(f"--ray-dashboard {url}: give the address of Ray's dashboard, as http://127.0.0.1:8265")
        self.url = url.rstrip("/")
        self._token, self._session = token, session
        self._http = urllib3.PoolManager(timeout=urllib3.Timeout(connect=CONNECT, read=READ), retries=False)

    def session(self) -> str:
        """Name of the session, as it stands in the events of the cluster. SourceError where neither the dashboard nor
        the option says it: without the name the runs would not be those of the events."""
        answer = self._get("/api/version")
        name = answer.get("session_name") if isinstance(answer, dict) else None
        if not (name or self._session):
            raise SourceError(f"{self.url} does not tell its session: give it with --ray-session")
        return str(name or self._session)

    def jobs(self) -> list[dict[str, Any]]:
        """The entries of GET /api/jobs/."""
        answer = self._get("/api/jobs/")
        if not isinstance(answer, list):
            raise SourceError(f"{self.url}/api/jobs/ is no list: is this Ray's dashboard?")
        return [entry for entry in answer if isinstance(entry, dict)]

    def tasks(self) -> dict[str, Any]:
        """The answer of the State API for the newest ``TASKS`` tasks; a warning is logged if there were more."""
        answer = self._get(f"/api/v0/tasks?limit={TASKS}&detail=1")
        try:
            inner: dict[str, Any] = answer["data"]["result"]
            total, returned = int(inner["total"]), len(inner["result"])
        except (KeyError, TypeError, ValueError) as error:
            raise SourceError(f"{self.url}/api/v0/tasks answers in another shape ({error})") from error
        if total > returned:
            warning = "the State API tells %d of %d tasks; those that it leaves out are known from events only"
            _logger.warning(warning, returned, total)
        return inner

    def _get(self, path: str) -> Any:
        token = self._token()
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            answer = self._http.request(
                "GET", self.url + path, headers=headers, redirect=False, preload_content=False, decode_content=True
            )
            try:
                body = answer.read(LARGEST + 1)
            finally:
                answer.close()
        except urllib3.exceptions.HTTPError as error:
            raise SourceError(f"{self.url} cannot be asked ({error}): check the address") from error
        if answer.status in (401, 403):
            raise SourceError(f"{self.url} wants a token ({answer.status}): give --ray-token-file, or RAY_AUTH_TOKEN")
        if answer.status != 200 or len(body) > LARGEST:
            raise SourceError(f"{self.url}{path} answered {answer.status} with {len(body):,} bytes: see its log")
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            raise SourceError(f"{self.url}{path} is no JSON ({error}): is this Ray's dashboard?") from error


class Jobs:
    """Polls the outcomes of jobs."""

    def __init__(self, dashboard: Dashboard) -> None:
        self._dashboard = dashboard
        self._journalled: set[str] = set()
        self._new: set[str] = set()

    def poll(self, now: int) -> list[tuple[str, bytes]]:
        """(where, record) of the jobs whose entries have changed; SourceError where the dashboard does not answer."""
        session = self._dashboard.session()
        jobs = {
            msgspec.json.encode(entry).decode(): entry for entry in map(_used_fields, self._dashboard.jobs()) if entry
        }
        self._new = {f"{session} {text}" for text in jobs}
        changed = [entry for text, entry in jobs.items() if f"{session} {text}" not in self._journalled]
        if not changed:
            return []
        record = msgspec.json.encode({"session_name": session, "jobs": changed})
        return [(f"{self._dashboard.url}/api/jobs/", record)]

    def acknowledge(self) -> None:
        """The last answer is in the journal."""
        self._journalled = self._new if len(self._new) <= REMEMBERED else set()


class Backfill:
    """Reads once what ran in the cluster before the export was received: the tasks of the jobs for which
    ``is_recorded(session, job id)`` is false."""

    def __init__(self, dashboard: Dashboard, is_recorded: Callable[[str, str], bool]) -> None:
        self._dashboard, self._is_recorded, self._done = dashboard, is_recorded, False

    def poll(self, now: int) -> list[tuple[str, bytes]]:
        """(where, record) of the tasks and drivers of jobs that are not recorded; nothing after the first answer that
        was journalled. SourceError where the dashboard does not answer."""
        if self._done:
            return []
        session, tasks = self._dashboard.session(), self._dashboard.tasks()["result"]
        fresh = {job for job in {_job(entry) for entry in tasks} if job and not self._is_recorded(session, job)}
        drivers = [entry for entry in self._dashboard.jobs() if entry.get("type") == "DRIVER" and _job(entry) in fresh]
        rows = [entry for entry in tasks if _job(entry) in fresh]
        if not rows:
            return []
        record = {"session_name": session, "drivers": _only(drivers, Job), "tasks": _only(rows, Task)}
        return [(f"{self._dashboard.url}/api/v0/tasks", msgspec.json.encode(record))]

    def acknowledge(self) -> None:
        """The answer is in the journal."""
        self._done = True


def _job(entry: Any) -> str:
    job_id = entry.get("job_id") if isinstance(entry, dict) else None
    return job_id if isinstance(job_id, str) else ""


def _only(entries: list[dict[str, Any]], shape: type[Job] | type[Task]) -> list[dict[str, Any]]:
    """The entries with only the fields that are used: the others hold environment variables and paths in clear."""
    return [{name: entry[name] for name in shape.__struct_fields__ if name in entry} for entry in entries]


def _used_fields(entry: dict[str, Any]) -> dict[str, Any] | None:
    """The fields that are used, of an entry from which something can be recorded; None for any other. An entry of an
    unexpected shape is passed on with these fields, so that it becomes a dead letter without secrets."""
    entry = {name: entry[name] for name in Job.__struct_fields__ if name in entry}
    try:
        job = msgspec.convert(entry, Job)
    except msgspec.ValidationError:
        return entry
    useful = has_run(job) and (job.status not in OUTCOMES or job.end_time)
    return entry if useful else None
