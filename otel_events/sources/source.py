"""What a source is: one object that it exports, and all that the rest of the house knows of it.

    SOURCE = Source(
        name="toy",
        about="Toys, as their factory writes them down.",
        decode="otel_events_toy.decode:decode",
    )

What is heavy (protobuf classes, clients) is named as ``module:name`` and loaded when it is first used, so that the
``SOURCE`` itself costs nothing to import.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any, Protocol

import msgspec

from otel_events.model.errors import ConfigError
from otel_events.model.event import AnyEvent
from otel_events.model.record import Record, Refused
from otel_events.model.traits import Traits

Decode = Callable[[bytes, str], list[AnyEvent]]
"""(record, hint) -> events. Pure: the same record gives the same events, with ids and times from the record. ``hint``
is what came beside it (a file name, a message type, a content type) or "". Raises DecodeError for a record that is not
the source's (PartlyDecoded where only a part of it is not); the message says what is wrong, where in the record, and
what to do."""

Read = Callable[[str], Iterator[Record | Refused] | None]
"""A path or URL -> its records, where it is a thing of the source's own (a storage, an exported session); else None:
then its files are read as records."""


class Place(Protocol):
    """Something that is polled. Called by one thread."""

    def poll(self, now: int) -> Sequence[tuple[str, bytes]]:
        """(where, record) of what is new; ``now`` in ns since the epoch. OtelEventsError: it cannot be asked now."""

    def acknowledge(self) -> None:
        """What ``poll`` gave last is on disk."""


class Polled(msgspec.Struct, frozen=True):
    """A place, the source that decodes its records (and the hint it needs), and the name that a log calls it by."""

    source: str
    place: Place
    name: str
    hint: str = ""


class LastAttempt(msgspec.Struct, frozen=True):
    """What a journal has of the last attempt of a run: its number, when it first ran (ns, 0: never), whether it is
    over."""

    attempt: int = 1
    start: int = 0
    over: bool = False


class Recorded(Protocol):
    """What the journal has, for a reader that asks a place only for what is missing."""

    def has_root(self, source: str, namespace: str, root: str) -> bool:
        """Whether anything is recorded of a root."""

    def last_attempts(self, source: str, namespace: str, root: str) -> Mapping[str, LastAttempt]:
        """Run id -> its last attempt, of all runs of a root; empty where the journal cannot be read."""


class Serving(msgspec.Struct, frozen=True):
    """What ``serve`` hands to a reader: the environment, the journal's content, its retention (ns)."""

    environ: Mapping[str, str]
    recorded: Recorded
    max_age: int


class Readers(msgspec.Struct, frozen=True):
    """What the options of a source ask ``serve`` to do."""

    polled: Sequence[Polled] = ()
    storages: Sequence[Any] = ()
    """Storages whose metadata is served under /v1/workflows."""


class ServeOptions(Protocol):
    """A msgspec Struct; its fields are options of ``serve``, annotated as Typer's parameters are, with defaults."""

    def readers(self, serving: Serving) -> Readers:
        """What these options ask for. Raises ConfigError."""


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A source of events.

    Args:
        name: what the command line and ``Run.source`` call it; the name of its entry point.
        about: what it reads, in a sentence; Markdown.
        decode: ``module:name`` of its Decode.
        traits: what it does differently from other sources.
        extra: the extra of this package that installs what it needs, "" for none.
        read: ``module:name`` of a Read; "" where all of its records lie in files.
        serve: ``module:name`` of its ServeOptions; "" where nothing is polled.
        docs: ``module:name`` of a function that gives its section of docs/sources.md; "" for none.
        cloudevents: beginnings of the ``type`` of the CloudEvents that it decodes.

    >>> Source(name="toy", about="Toys.", decode="toys:decode").traits.workflow_from_root
    False
    """

    name: str
    about: str
    decode: str
    traits: Traits = Traits()
    extra: str = ""
    read: str = ""
    serve: str = ""
    docs: str = ""
    cloudevents: tuple[str, ...] = ()

    def load(self, what: str) -> Any:
        """The object that one of the ``module:name`` fields names. Raises ConfigError where a package is missing."""
        module, _, name = getattr(self, what).partition(":")
        try:
            return getattr(import_module(module), name)
        except ModuleNotFoundError as missing:
            install = f"pip install 'otel-events[{self.extra}]'" if self.extra else "install it"
            raise ConfigError(f"source {self.name!r} needs {missing.name}: {install}") from missing
