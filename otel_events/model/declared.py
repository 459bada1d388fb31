"""The sources that are installed, by the entry point group ``otel_events.sources``: ours and anybody's the same way.

    [project.entry-points."otel_events.sources"]
    toy = "otel_events_toy:SOURCE"

Only the names are read until a source is asked for. What cannot be loaded is said once in the log and left out: it
stops no other source.
"""

from __future__ import annotations

import logging
import pkgutil
from collections.abc import Callable
from functools import cache, partial
from importlib import import_module
from typing import Any

from otel_events.model.errors import ConfigError
from otel_events.model.traits import NO_TRAITS, Traits

GROUP = "otel_events.sources"
_PACKAGE, _DISTRIBUTION = "otel_events", "otel-events"

_logger = logging.getLogger("otel_events")


@cache
def loaders() -> dict[str, Callable[[], Any]]:
    """Name of each installed source -> what loads its ``SOURCE``, by name; of two with one name, ours is taken."""
    from importlib.metadata import entry_points  # 20 ms that a program without runs need not pay

    ours: dict[str, Callable[[], Any]] = {}
    others: dict[str, Callable[[], Any]] = {}
    for point in entry_points(group=GROUP):
        mine = point.dist is not None and point.dist.name == _DISTRIBUTION
        if not mine and point.name in others:
            _logger.warning("two packages install a source %r: one of them has to go", point.name)
        (ours if mine else others).setdefault(point.name, point.load)
    return dict(sorted((others | (ours or _without_metadata())).items()))


def _without_metadata() -> dict[str, Callable[[], Any]]:
    """Our own sources where the package lies on the path without being installed: a zip that a worker was given."""
    package = import_module(f"{_PACKAGE}.sources")
    names = [module.name for module in pkgutil.iter_modules(package.__path__) if module.ispkg]
    sources = [import_module(f"{package.__name__}.{name}").SOURCE for name in names]
    return {source.name: partial(_itself, source) for source in sources}


def _itself(source: Any) -> Any:
    return source


@cache
def load(name: str) -> Any:
    """The ``SOURCE`` of that name. Raises ConfigError for a name that nothing installs, or what cannot be loaded."""
    if name not in loaders():
        raise ConfigError(f"no source named {name!r}; known: {', '.join(loaders())}")
    try:
        source = loaders()[name]()
        if source.name != name:
            raise ValueError(f"its SOURCE calls itself {source.name!r}")
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise ConfigError(f"source {name!r} cannot be loaded ({reason}): mend or remove its package") from error
    return source


def traits_of(source: str) -> Traits:
    """The traits of the runs of a source.

    Args:
        source: the name that its events carry (``Run.source``); any text, since anybody may post events.

    Returns:
        What the installed source of that name declares; the traits of no source in particular where there is none, or
        where it cannot be loaded, which the log says once.

    >>> traits_of("nobody").workflow_from_root
    False
    """
    # Names from outside are not remembered: their number has no bound.
    return _installed_traits(source) if source in loaders() else NO_TRAITS


@cache
def _installed_traits(source: str) -> Traits:
    try:
        traits: Traits = load(source).traits
    except ConfigError as error:
        _logger.warning("%s; its runs are read without its traits", error)
        return NO_TRAITS
    return traits


@cache
def all_traits() -> dict[str, Traits]:
    """The traits of all sources that are installed, by name."""
    return {name: traits_of(name) for name in loaders()}
