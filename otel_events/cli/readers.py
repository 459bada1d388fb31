"""What ``serve`` reads besides its endpoints: the options of each source into what is polled."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import msgspec

from otel_events.model.errors import ConfigError
from otel_events.sources import load_source, source_names
from otel_events.sources.source import Readers, ServeOptions, Serving

_logger = logging.getLogger("otel_events")


def option_groups() -> dict[str, type[msgspec.Struct]]:
    """Source -> the Struct of its options of ``serve``, of each source that has some. A source that cannot be loaded is
    said in the log and left out."""
    groups: dict[str, type[msgspec.Struct]] = {}
    for name in source_names():
        try:
            if load_source(name).serve:
                groups[name] = load_source(name).load("serve")
        except ConfigError as error:
            _logger.warning("%s; serve has no options for it", error)
    return groups


def opened(options: Sequence[ServeOptions], serving: Serving) -> Readers:
    """All that the options ask for. Raises ConfigError."""
    each = [group.readers(serving) for group in options]
    return Readers(
        [polled for readers in each for polled in readers.polled],
        [storage for readers in each for storage in readers.storages],
    )
