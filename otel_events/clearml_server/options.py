"""``serve --clearml``: its options, and what they set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from otel_events.gateway.gateway import Gateway
from otel_events.model.errors import ConfigError

if TYPE_CHECKING:  # they need the extra [clearml]
    from otel_events.clearml_server.service import Settings
    from otel_events.server.run import Beside

DAY = 86_400
PORT, FILES_PORT = 8008, 8081
"""Where ClearML's own servers listen."""


class Options(msgspec.Struct, frozen=True):
    """As the command line has them."""

    clearml: Annotated[
        bool, typer.Option("--clearml", help="Answer ClearML's API too, for its SDK and readers, and keep its files.")
    ] = False
    clearml_upstream: Annotated[
        str,
        typer.Option(metavar="URL", help="Instead, pass all calls on to this API server of ClearML, and read along."),
    ] = ""
    clearml_port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65_535, help="Port of ClearML's API; 0 takes a free one.")
    ] = PORT
    clearml_files_port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65_535, help="Port of its file server; 0 takes a free one.")
    ] = FILES_PORT
    clearml_credentials: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="File with KEY:SECRET, one a line, to log in with; else see docs/configuration.md.",
        ),
    ] = ""
    clearml_store: Annotated[
        str, typer.Option(metavar="FILE", help="What tasks report; else clearml.db beside the journal.")
    ] = ""
    clearml_files: Annotated[
        str,
        typer.Option(metavar="FOLDER", help="Images and artifacts; else the folder clearml-files beside the store."),
    ] = ""
    clearml_days: Annotated[
        float | None,
        typer.Option(
            metavar="DAYS",
            min=0.01,
            help="How long the events and files of tasks are kept after the last; else for ever.",
        ),
    ] = None
    clearml_mib: Annotated[
        int, typer.Option(metavar="MIB", min=1, help="Size of the store beyond which the oldest tasks' events go.")
    ] = 10_240
    clearml_files_mib: Annotated[
        int, typer.Option(metavar="MIB", min=1, help="Size of all files beyond which no more are taken.")
    ] = 10_240


@contextmanager
def opened(
    options: Options, host: str, journal: Path, gateway: Gateway, environ: Mapping[str, str]
) -> Iterator[list[Beside]]:
    """ClearML's servers, none where they are not asked for. ConfigError, StoreError."""
    if not options.clearml and not options.clearml_upstream:
        yield []
        return
    try:
        # They need the extra [clearml], which only those have to install who ask for it.
        from otel_events.clearml_server import service as clearml
        from otel_events.clearml_server.api.access import credentials
    except ModuleNotFoundError as missing:
        raise ConfigError(f"--clearml needs {missing.name}: pip install 'otel-events[clearml]'") from missing
    allowed = credentials(environ, options.clearml_credentials)
    with clearml.opened(settings(options, host, journal, allowed), gateway) as beside:
        yield beside


def settings(options: Options, host: str, journal: Path, allowed: Mapping[str, str]) -> Settings:
    """What the options say; the server's own module is here by now."""
    from otel_events.clearml_server.service import Settings  # of the extra [clearml] too

    store = Path(options.clearml_store).expanduser() if options.clearml_store else journal.with_name("clearml.db")
    files = Path(options.clearml_files).expanduser() if options.clearml_files else store.with_name("clearml-files")
    return Settings(
        host=host,
        port=options.clearml_port,
        files_port=options.clearml_files_port,
        store=store,
        files=files,
        credentials=allowed,
        upstream=options.clearml_upstream,
        age=None if options.clearml_days is None else options.clearml_days * DAY,
        store_bytes=options.clearml_mib << 20,
        files_bytes=options.clearml_files_mib << 20,
    )


def ports(beside: list[Beside]) -> str:
    """What is said of them at the start: their ports."""
    names = ("ClearML's API on port {}", "its files on port {}")
    numbers = [service.listener.getsockname()[1] for service in beside]
    return "".join(f", {name.format(port)}" for name, port in zip(names, numbers, strict=False))
