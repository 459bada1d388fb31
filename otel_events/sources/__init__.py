"""The sources: a folder each, with one ``SOURCE`` (source.py); found by the entry point group ``otel_events.sources``.

decode = decoder("flyte")
events = decode(record, "")
"""

from __future__ import annotations

import logging
from functools import cache

from otel_events.model import declared
from otel_events.model.errors import ConfigError
from otel_events.sources.source import Decode, Source

__all__ = ["Decode", "Source", "cloudevent_types", "decoder", "load_source", "source_names"]

_logger = logging.getLogger("otel_events")


def source_names() -> list[str]:
    """Names of the sources that are installed, sorted."""
    return list(declared.loaders())


def load_source(name: str) -> Source:
    """The source of that name. Raises ConfigError: no such source, or its package cannot be loaded."""
    loaded = declared.load(name)
    if not isinstance(loaded, Source):
        raise ConfigError(f"source {name!r} exports no otel_events.sources.Source: mend or remove its package")
    return loaded


@cache
def cloudevent_types() -> tuple[tuple[str, str], ...]:
    """(beginning of a CloudEvent's ``type``, the source that decodes it), of all sources that can be loaded."""
    rows: list[tuple[str, str]] = []
    for name in source_names():
        try:
            rows += [(start, name) for start in load_source(name).cloudevents]
        except ConfigError as error:
            _logger.warning("%s; its CloudEvents are refused", error)
    return tuple(rows)


def decoder(name: str) -> Decode:
    """The ``decode`` of a source.

    Args:
        name: of the source: flyte, prefect, ray, ray-workflow, clearml, events, or one that a package installs.

    Returns:
        A pure function (record, hint) -> events.

    Raises:
        ConfigError: no such source (the message names those there are), or an extra is missing (it says which).

    >>> event, = decoder("events")(b'{"event":"log","id":"1","time":1,"message":"hello",'
    ...     b'"run":{"source":"batch","kind":"task","id":"a","name":"a","root":"a"}}', "")
    >>> event.message
    'hello'
    """
    decode: Decode = load_source(name).load("decode")
    return decode
