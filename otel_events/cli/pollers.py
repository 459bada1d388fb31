"""What ``serve`` asks: options into places to poll."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from otel_events.core.fold import attempts
from otel_events.gateway.poll import Polled
from otel_events.journal import Journal
from otel_events.model.errors import ConfigError, JournalError
from otel_events.model.event import AnyEvent
from otel_events.sources.ray import jobs as ray_jobs
from otel_events.sources.ray import state as ray_state
from otel_events.sources.ray.dashboard import Backfill, Dashboard, Jobs
from otel_events.sources.ray_workflow.files import Files, open_storage
from otel_events.sources.ray_workflow.poll import Known, Poller

TOKEN_VARIABLE = "RAY_AUTH_TOKEN"  # noqa: S105 - the name of a variable, not a token
_NAMED = re.compile(r"([A-Za-z0-9][\w.-]*)=(.+)", re.DOTALL)

Workflows = Annotated[
    list[str] | None,
    typer.Option(
        "--ray-workflows",
        metavar="[NAME=]URL",
        help="Poll the workflows in this storage of Ray 2.47 or earlier; repeatable, NAME becomes the namespace.",
    ),
]
DashboardUrl = Annotated[
    str, typer.Option("--ray-dashboard", metavar="URL", help="Ask this dashboard of Ray how its jobs ended.")
]
Session = Annotated[
    str,
    typer.Option("--ray-session", metavar="NAME", help="Name of its session, where the dashboard does not tell it."),
]
RayToken = Annotated[
    str,
    typer.Option("--ray-token-file", metavar="FILE", help=f"File with the dashboard's token; else ${TOKEN_VARIABLE}."),
]
Seconds = Annotated[float, typer.Option("--poll", metavar="SECONDS", min=0.2, help="Time between two polls.")]

_logger = logging.getLogger("otel_events")


class Options(msgspec.Struct, frozen=True):
    """As the command line has them."""

    ray_workflows: Workflows = None
    ray_dashboard: DashboardUrl = ""
    ray_session: Session = ""
    ray_token_file: RayToken = ""
    poll: Seconds = 5.0

    def places(self, journal: Path, max_age: int) -> tuple[list[Files], list[Polled]]:
        """The storages of Ray's workflows, and all that is to be polled. ConfigError."""
        stored = storages(self.ray_workflows)
        found = dashboard(self.ray_dashboard, self.ray_session, self.ray_token_file)
        return [*stored.values()], places(stored, found, journal, max_age)


def storages(named: list[str] | None) -> dict[str, Files]:
    """Namespace -> storage. ConfigError: none there, or two of one namespace."""
    found: dict[str, Files] = {}
    for one in named or ():
        match = _NAMED.fullmatch(one)
        name, url = (match[1], match[2]) if match else ("", one)
        if name in found:
            raise ConfigError(f"--ray-workflows {one}: two storages need names of their own, as NAME=URL")
        found[name] = open_storage(url)
    return found


def dashboard(url: str, session: str, token_file: str) -> Dashboard | None:
    """The dashboard to be asked; None for none. ConfigError for an address that is none."""
    return Dashboard(url, lambda: _token(token_file, os.environ), session) if url else None


def places(workflows: dict[str, Files], asked: Dashboard | None, journal: Path, max_age: int) -> list[Polled]:
    """All that is to be polled."""
    found = [
        Polled("ray-workflow", Poller(files, name, recall(journal, name), max_age), files.url)
        for name, files in workflows.items()
    ]
    if asked is not None:
        earlier = Backfill(asked, lambda of, job: known(journal, of, job))
        found.append(Polled("ray", earlier, f"{asked.url} (tasks)", ray_state.HINT))
        found.append(Polled("ray", Jobs(asked), asked.url, ray_jobs.HINT))
    return found


def _token(token_file: str, environ: Mapping[str, str]) -> str:
    if not token_file:
        return environ.get(TOKEN_VARIABLE, "").strip()
    try:
        return Path(token_file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"--ray-token-file {token_file} cannot be read ({error}): check the path and rights"
        ) from error


def known(journal: Path, session: str, job: str) -> bool:
    """Whether a journal has heard of a job of Ray."""
    with closing(Journal.reader(journal)) as reader:
        return any((row.source, row.namespace, row.root) == ("ray", session, job) for row in reader.find_roots(job))


def recall(journal: Path, namespace: str) -> Callable[[str], Mapping[str, Known]]:
    """Root id -> its runs' last attempts that a journal has, for the poller of Ray's workflows."""

    def look(root: str) -> Mapping[str, Known]:
        runs: dict[str, list[AnyEvent]] = {}
        try:
            with closing(Journal.reader(journal)) as reader:
                for row in reader.find_roots(root):
                    if (row.source, row.namespace, row.root) == ("ray", namespace, root):
                        for chunk in reader.root_chunks(row.key, records=False):
                            for event in chunk.events:
                                runs.setdefault(event.run.id, []).append(event)
        except JournalError as error:
            _logger.warning("attempts of %s are counted anew: %s", root, error)
        return {run_id: _last(members) for run_id, members in runs.items()}

    return look


def _last(members: Sequence[AnyEvent]) -> Known:
    last = attempts(members)[-1]
    return Known(last.run.attempt, last.first_running, bool(last.outcome))
