"""``otel-events doctor``: versions, configuration, whether the endpoint answers, the state of the journal."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import socket
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import typer

from otel_events.cli.common import REFUSED, JournalOption, journal_path
from otel_events.journal import Journal
from otel_events.model.errors import ConfigError, OtelEventsError
from otel_events.model.version import version
from otel_events.otlp import Config, Endpoint, from_env
from otel_events.server.auth import TOKEN_VARIABLE, access
from otel_events.sources import decoder, source_names
from otel_events.views.explain import printable

CONNECT_SECONDS = 2.0
PACKAGES = ("msgspec", "opentelemetry-api", "opentelemetry-sdk", "grpcio", "protobuf", "starlette", "uvicorn")


class Check(msgspec.Struct):
    """One line of the report. ``good`` None: worth knowing, not wrong."""

    good: bool | None
    what: str
    text: str


MARKS = {True: "ok  ", False: "BAD ", None: "    "}


def doctor(journal: JournalOption = "") -> None:
    """Check versions, configuration, that the OTLP endpoint answers, and the journal.

    Exit code 1: something is wrong; what to do about it stands beside it. Secrets are not shown.

    Examples:

        otel-events doctor
        OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4317 otel-events doctor --journal runs.db
    """
    bad = 0
    for check in checks(os.environ, journal_path(journal)):
        bad += check.good is False
        typer.echo(f"{MARKS[check.good]}{check.what:<22}{printable(check.text)}")
    typer.echo(f"\n{bad} thing{'s' if bad > 1 else ''} to mend" if bad else "\nall is well")
    if bad:
        raise typer.Exit(REFUSED)


def checks(environ: Mapping[str, str], journal: Path) -> Iterator[Check]:
    """All checks, in the order of the report."""
    yield from _versions()
    yield from (_source(name) for name in source_names())
    yield from _tried("token", lambda: _token(environ))
    yield from _tried("configuration", lambda: _sending(from_env(environ)))
    yield from _tried("journal", lambda: _journal(journal))


def _tried(what: str, look: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    try:
        yield from look()
    except OtelEventsError as error:
        yield Check(False, what, str(error))


def _versions() -> Iterator[Check]:
    yield Check(None, "otel-events", version())
    yield Check(None, "python", f"{platform.python_version()} on {platform.system()}")
    yield Check(None, "sqlite", sqlite3.sqlite_version)
    for name in PACKAGES:
        try:
            yield Check(None, name, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Check(False, name, "not installed: pip install --force-reinstall otel-events")


def _source(name: str) -> Check:
    try:
        decoder(name)
    except ConfigError as error:
        return Check(None, f"source {name}", str(error))
    return Check(True, f"source {name}", "ready")


def _token(environ: Mapping[str, str]) -> Iterator[Check]:
    rules = access("127.0.0.1", environ.get(TOKEN_VARIABLE, ""))
    text = "set" if rules.token else "none: serve listens on loopback only"
    yield Check(True if rules.token else None, TOKEN_VARIABLE, text)


def _sending(config: Config) -> Iterator[Check]:
    reached: dict[tuple[str, int], Check] = {}
    for signal, endpoint in config.endpoints.items():
        yield Check(None, f"{signal} go to", _shown(endpoint))
        files = (endpoint.certificate, endpoint.client_certificate, endpoint.client_key)
        yield from (
            Check(False, "certificate", f"no file {path}: correct the path")
            for path in files
            if path and not Path(path).is_file()
        )
        place = _place(endpoint)
        if place and place not in reached:
            reached[place] = _reach(*place)
    yield from reached.values()


def _shown(endpoint: Endpoint) -> str:
    parts = [endpoint.address, endpoint.protocol, "TLS" if endpoint.secure else "no TLS"]
    parts += [f"compression {endpoint.compression}", f"timeout {endpoint.timeout:g} s"]
    parts += [f"{name}={value!r}" for name, value in endpoint.headers.items()]
    return ", ".join(parts)


def _place(endpoint: Endpoint) -> tuple[str, int] | None:
    """(host, port) of an endpoint; None for what is no TCP address (unix:...)."""
    if endpoint.protocol == "grpc":
        scheme, _, rest = endpoint.address.rpartition("///")
        if endpoint.address.startswith("unix:") or (scheme and scheme != "dns:"):
            return None
        parsed = urlsplit(f"//{rest.removeprefix('dns:')}")
    else:
        parsed = urlsplit(endpoint.address)
    try:
        return (parsed.hostname or "localhost", parsed.port or (443 if endpoint.secure else 80))
    except ValueError:
        return None


def _reach(host: str, port: int) -> Check:
    what = f"{host}:{port}"
    try:
        socket.create_connection((host, port), CONNECT_SECONDS).close()
    except OSError as error:
        text = f"does not answer ({error.strerror or error}): start the collector, or set OTEL_EXPORTER_OTLP_ENDPOINT"
        return Check(False, what, text)
    return Check(True, what, "answers")


def _journal(path: Path) -> Iterator[Check]:
    if not path.exists():
        yield Check(None, "journal", f"{path}: none yet, `otel-events serve` makes it")
    else:
        with closing(Journal.reader(path)) as reader:
            stats = reader.stats()
        yield Check(
            True, "journal", f"{path}: {stats.events:,} events of {stats.roots:,} roots ({stats.open_roots:,} open)"
        )
        yield Check(
            None, "", f"{stats.bytes:,} bytes, {stats.dead_letters:,} dead letters ({stats.dead_dropped:,} dropped)"
        )
        yield Check(
            None,
            "",
            f"{stats.last_seq - stats.sent_seq:,} commits not sent, the oldest {stats.oldest_unsent_seconds:.0f} s ago",
        )
    for aside in sorted(path.parent.glob(f"{path.name}.quarantined-*[0-9]")):
        text = f"{aside} was damaged or foreign and was moved aside: what could be read is in the journal; delete it"
        yield Check(False, "quarantined", text)
