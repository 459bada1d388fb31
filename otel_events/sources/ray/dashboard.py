"""Asking the dashboard of a Ray cluster: its jobs, each time; its tasks once, for what ran before anybody listened.

Everything is bounded: the time to connect and to answer, the bytes of an answer, the number of tasks. No redirect is
followed, no proxy of the environment asked, and the token goes to the address that was given only.
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
from otel_events.sources.ray.jobs import OUTCOMES, Job, is_told
from otel_events.sources.ray.state import Task

LARGEST = 64 << 20
"""Bytes of one answer."""
CONNECT, READ = 3.0, 15.0
"""Seconds."""
TASKS = 10_000
"""Tasks of the one call; Ray refuses to be asked for more."""
TOLD = 20_000
"""Jobs that are remembered as told; past it they are told again, and known again by the journal."""

_logger = logging.getLogger("otel_events")


class Dashboard:
    """One cluster. ``token``: asked for each time, so that one that is renewed is taken; "" for none."""

    def __init__(self, url: str, token: Callable[[], str] = lambda: "", session: str = "") -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise ConfigError(f"--ray-dashboard {url}: give the address of Ray's dashboard, as http://127.0.0.1:8265")
        self.url = url.rstrip("/")
        self._token, self._session = token, session
        self._http = urllib3.PoolManager(timeout=urllib3.Timeout(connect=CONNECT, read=READ), retries=False)

    def session(self) -> str:
        """Name of the session, as the events of the cluster tell it. SourceError where neither the dashboard nor
        the option says it: without it no run could be found again."""
        found = self._get("/api/version")
        told = found.get("session_name") if isinstance(found, dict) else None
        if not (told or self._session):
            raise SourceError(f"{self.url} does not tell its session: give it with --ray-session")
        return str(told or self._session)

    def jobs(self) -> list[dict[str, Any]]:
        """The entries of GET /api/jobs/."""
        found = self._get("/api/jobs/")
        if not isinstance(found, list):
            raise SourceError(f"{self.url}/api/jobs/ is no list: is this Ray's dashboard?")
        return [one for one in found if isinstance(one, dict)]

    def tasks(self) -> dict[str, Any]:
        """The answer of the State API for the newest ``TASKS`` tasks; a log tells if there were more."""
        found = self._get(f"/api/v0/tasks?limit={TASKS}&detail=1")
        try:
            inner: dict[str, Any] = found["data"]["result"]
            total, given = int(inner["total"]), len(inner["result"])
        except (KeyError, TypeError, ValueError) as error:
            raise SourceError(f"{self.url}/api/v0/tasks answers in another shape ({error})") from error
        if total > given:
            told = "the State API tells %d of %d tasks; those that it leaves out are known from events only"
            _logger.warning(told, given, total)
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
    """The poller of job outcomes."""

    def __init__(self, dashboard: Dashboard) -> None:
        self._dashboard = dashboard
        self._told: set[str] = set()
        self._new: set[str] = set()

    def poll(self, now: int) -> list[tuple[str, bytes]]:
        """(where, record) of the jobs that were told otherwise before. SourceError."""
        session = self._dashboard.session()
        jobs = {msgspec.json.encode(one).decode(): one for one in map(_known, self._dashboard.jobs()) if one}
        self._new = {f"{session} {text}" for text in jobs}
        found = [one for text, one in jobs.items() if f"{session} {text}" not in self._told]
        if not found:
            return []
        record = msgspec.json.encode({"session_name": session, "jobs": found})
        return [(f"{self._dashboard.url}/api/jobs/", record)]

    def kept(self) -> None:
        """What the last answer held is in the journal."""
        self._told = self._new if len(self._new) <= TOLD else set()


class Backfill:
    """What ran in the cluster before anybody listened: asked once, of jobs that ``known`` (session, job id) denies."""

    def __init__(self, dashboard: Dashboard, known: Callable[[str, str], bool]) -> None:
        self._dashboard, self._known, self._done = dashboard, known, False

    def poll(self, now: int) -> list[tuple[str, bytes]]:
        """(where, record) of the tasks and drivers of jobs that are not known; nothing after the first. SourceError."""
        if self._done:
            return []
        session, tasks = self._dashboard.session(), self._dashboard.tasks()["result"]
        fresh = {job for job in {_job(one) for one in tasks} if job and not self._known(session, job)}
        drivers = [one for one in self._dashboard.jobs() if one.get("type") == "DRIVER" and _job(one) in fresh]
        rows = [one for one in tasks if _job(one) in fresh]
        if not rows:
            return []
        record = {"session_name": session, "drivers": _only(drivers, Job), "tasks": _only(rows, Task)}
        return [(f"{self._dashboard.url}/api/v0/tasks", msgspec.json.encode(record))]

    def kept(self) -> None:
        """What the answer held is in the journal."""
        self._done = True


def _job(entry: Any) -> str:
    told = entry.get("job_id") if isinstance(entry, dict) else None
    return told if isinstance(told, str) else ""


def _only(entries: list[dict[str, Any]], shape: type[Job] | type[Task]) -> list[dict[str, Any]]:
    """The fields that are read: an entry holds environment variables and paths in clear."""
    return [{name: one[name] for name in shape.__struct_fields__ if name in one} for one in entries]


def _known(entry: dict[str, Any]) -> dict[str, Any] | None:
    """The fields that are read, of an entry that tells something; an entry of another shape goes as it is, so that it
    is kept as a dead letter, without what may be secret in it."""
    entry = {name: entry[name] for name in Job.__struct_fields__ if name in entry}
    try:
        job = msgspec.convert(entry, Job)
    except msgspec.ValidationError:
        return entry
    told = is_told(job) and (job.status not in OUTCOMES or job.end_time)
    return entry if told else None
