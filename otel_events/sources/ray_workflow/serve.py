"""The options of ``serve`` for Ray's workflows: storages that are polled."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec
import typer

from otel_events.model.errors import ConfigError
from otel_events.sources.ray_workflow.files import Files, open_storage
from otel_events.sources.ray_workflow.poll import Poller, Recall
from otel_events.sources.source import Polled, Readers, Recorded, Serving

_NAMED = re.compile(r"([A-Za-z0-9][\w.-]*)=(.+)", re.DOTALL)


class Options(msgspec.Struct, frozen=True):
    """As the command line has them."""

    ray_workflows: Annotated[
        list[str] | None,
        typer.Option(
            "--ray-workflows",
            metavar="[NAME=]URL",
            help="Poll the workflows in this storage of Ray 2.47 or earlier; repeatable, NAME becomes the namespace.",
        ),
    ] = None

    def readers(self, serving: Serving) -> Readers:
        """A poller for each storage. Raises ConfigError: no storage there, or two of one namespace."""
        stored = storages(self.ray_workflows)
        polled = [
            Polled("ray-workflow", Poller(files, name, recall(serving.recorded, name), serving.max_age), files.url)
            for name, files in stored.items()
        ]
        return Readers(polled, [*stored.values()])


def storages(named: list[str] | None) -> dict[str, Files]:
    """Namespace -> storage. Raises ConfigError: none there, or two of one namespace."""
    opened: dict[str, Files] = {}
    for text in named or ():
        match = _NAMED.fullmatch(text)
        name, url = (match[1], match[2]) if match else ("", text)
        if name in opened:
            raise ConfigError(f"--ray-workflows {text}: two storages need names of their own, as NAME=URL")
        opened[name] = open_storage(url)
    return opened


def recall(recorded: Recorded, namespace: str) -> Recall:
    """Root id -> its runs' last attempts that a journal has: their runs are of the source ``ray``."""
    return lambda root: recorded.last_attempts("ray", namespace, root)
