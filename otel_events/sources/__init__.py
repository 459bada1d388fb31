"""The sources: one module each, with ``decode``, the one function type that makes a source.

    decode(record: bytes, hint: str = "") -> list[AnyEvent]

Pure: the same record gives the same events, with ids and times from the record. ``hint`` is what came beside it (a file
name, a message type, a content type) or "". Raises DecodeError for a record that is not the source's (PartlyDecoded
where only a part of it is not); the message says what is wrong, where in the record, and what to do.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from otel_events.model.errors import ConfigError
from otel_events.model.event import AnyEvent

Decode = Callable[[bytes, str], list[AnyEvent]]

SOURCES: dict[str, str] = {
    "flyte": "otel_events.sources.flyte.decode",
    "prefect": "otel_events.sources.prefect.decode",
    "ray": "otel_events.sources.ray.decode",
    "ray-workflow": "otel_events.sources.ray_workflow.decode",
    "clearml": "otel_events.sources.clearml.decode",
    "events": "otel_events.sources.events.decode",
}
"""Name on the command line -> module. Adding a source is one line here."""


def decoder(source: str) -> Decode:
    """The ``decode`` of a source; ConfigError names the known ones, or the extra to install."""
    try:
        module = import_module(SOURCES[source])
    except KeyError:
        raise ConfigError(f"no source named {source!r}; known: {', '.join(SOURCES)}") from None
    except ModuleNotFoundError as missing:
        raise ConfigError(f"source {source!r} needs {missing.name}: pip install 'otel-events[{source}]'") from missing
    decode: Decode = module.decode
    return decode
