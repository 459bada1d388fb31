"""Options of ``@task`` and ``@workflow``, checked when a function is decorated: an error names the field.

They have the semantics of flytekit's TaskMetadata, with what it leaves open decided here: docs/tasks.md has the table.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from datetime import timedelta
from enum import Enum
from typing import Any

import msgspec

from otel_events.model.event import Scalar

RetryOn = type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException], bool]


class RecoverableError(Exception):
    """Raise it for what another attempt may cure; with ``retry_on=RecoverableError`` nothing else is tried again.

    >>> from otel_events import task
    >>> @task(retries=3, retry_on=RecoverableError)
    ... def load(path: str) -> str:
    ...     raise ValueError(path)  # raised at the first attempt
    """


class Options(msgspec.Struct, frozen=True):
    """The options of a decorator, checked and in one form. ``timeout`` in seconds, 0 for none."""

    name: str = ""
    attributes: Mapping[str, Scalar] = {}
    retries: int = 0
    retry_on: RetryOn = Exception
    timeout: float = 0.0
    cache: bool = False
    cache_version: str = ""
    cache_serialize: bool = False
    cache_ignore_input_vars: tuple[str, ...] = ()
    interruptible: bool | None = None
    enable_deck: bool = False
    deck_fields: tuple[Any, ...] | None = None

    @property
    def managed(self) -> bool:
        """Whether a call is more than one plain attempt."""
        return bool(self.retries or self.timeout or self.cache)

    @property
    def timeline(self) -> bool:
        """Whether a timeline is made of each attempt."""
        fields = [field.value if isinstance(field, Enum) else field for field in self.deck_fields or ()]
        return self.enable_deck and (self.deck_fields is None or "Timeline" in fields)

    def span_attributes(self) -> dict[str, Scalar]:
        """The attributes that the options give each span."""
        attributes: dict[str, Scalar] = {}
        if self.interruptible is not None:
            attributes["otel_events.task.interruptible"] = self.interruptible
        if self.retries:
            attributes["otel_events.task.retries"] = self.retries
        if self.timeout:
            attributes["otel_events.task.timeout"] = self.timeout
        if self.cache:
            attributes["otel_events.cache.version"] = self.cache_version
        return attributes | dict(self.attributes)


TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "name": ((str,), "a string"),
    "attributes": ((Mapping,), "a dict of strings to scalars"),
    "retries": ((int,), "an integer"),
    "timeout": ((int, float, timedelta), "a timedelta or seconds"),
    "cache": ((bool,), "True or False"),
    "cache_version": ((str,), "a string"),
    "cache_serialize": ((bool,), "True or False"),
    "cache_ignore_input_vars": ((tuple, list), "a tuple of names"),
    "interruptible": ((bool, type(None)), "True, False or None"),
    "enable_deck": ((bool,), "True or False"),
    "deck_fields": ((tuple, list, type(None)), "a tuple of DeckField"),
}
"""Field -> (types that it takes, in words)."""
ABOUT: dict[str, str] = {
    "name": "of the definition; else `module.qualname`",
    "attributes": "further attributes of each span",
    "retries": "how often more a failed attempt is tried",
    "retry_on": "which errors are tried again",
    "timeout": "of each attempt; 0: none",
    "cache": "take the result of an earlier run with the same inputs",
    "cache_version": "required with `cache`; another one is another cache",
    "cache_serialize": "runs with the same inputs wait for each other",
    "cache_ignore_input_vars": "inputs that make no difference",
    "interruptible": "the attribute `otel_events.task.interruptible`; nothing is scheduled here",
    "enable_deck": "make a deck of each attempt",
    "deck_fields": "what is in it; None: the timeline, the source code and the dependencies",
}
"""Field -> what it does, for the table of docs/tasks.md."""
RETRY_ON = "exceptions, a tuple of them, or a function of the error"
DECK_FIELDS = frozenset({"Input", "Output", "Timeline", "Source Code", "Dependencies"})
"""Values of flytekit's DeckField, and of ours."""
OF_CACHE = ("cache_version", "cache_serialize", "cache_ignore_input_vars")


def options(given: Mapping[str, Any]) -> Options:
    """Check the options of a decorator, and bring them into one form.

    Args:
        given: As the user wrote them.

    Returns:
        The options.

    Raises:
        TypeError, ValueError: An option cannot be used; the message names it.

    >>> options({"retries": 2, "timeout": timedelta(minutes=1)}).timeout
    60.0
    >>> options({"retries": "2"})
    Traceback (most recent call last):
        ...
    TypeError: retries is '2': it takes an integer
    """
    for field, value in given.items():
        if field in TYPES:
            _check_type(field, value)
    for check in (_check_attributes, _check_retries, _check_cache, _check_decks):
        check(given)
    return Options(**{**given, **_normal(given)})


def _normal(given: Mapping[str, Any]) -> dict[str, Any]:
    normal: dict[str, Any] = {"timeout": _seconds(given.get("timeout", 0))}
    for field in ("cache_ignore_input_vars", "deck_fields"):
        if given.get(field) is not None:
            normal[field] = tuple(given[field])
    return normal


def _check_type(field: str, value: object) -> None:
    kinds, words = TYPES[field]
    is_number = isinstance(value, bool) and bool not in kinds  # True is an int to Python, and to nobody else
    if is_number or not isinstance(value, kinds):
        raise TypeError(f"{field} is {_shown(value)}: it takes {words}")


def _shown(value: object) -> str:
    try:
        return f"{value!r:.80}" if isinstance(value, str | int | float | bool) else f"a {type(value).__name__}"
    except Exception:  # noqa: BLE001  # what a foreign object says of itself may fail
        return f"a {type(value).__name__}"


def _check_attributes(given: Mapping[str, Any]) -> None:
    for key, value in given.get("attributes", {}).items():
        if not isinstance(key, str) or not isinstance(value, str | int | float | bool):
            raise TypeError(f"attributes[{_shown(key)}] is {_shown(value)}: names are strings, values scalars")


def _check_retries(given: Mapping[str, Any]) -> None:
    if given.get("retries", 0) < 0:
        raise ValueError(f"retries is {given['retries']}: it takes 0 or more")
    chosen = given.get("retry_on", Exception)
    kinds = chosen if isinstance(chosen, tuple) else (chosen,)
    for kind in kinds:
        is_error = isinstance(kind, type) and issubclass(kind, BaseException)
        if not is_error and (isinstance(kind, type) or isinstance(chosen, tuple) or not callable(kind)):
            raise TypeError(f"retry_on has {_shown(kind)}: it takes {RETRY_ON}")


def _seconds(timeout: float | timedelta) -> float:
    seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else float(timeout)
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"timeout is {seconds:g} s: it takes 0 (none) or more, and an end")
    return seconds


def _check_cache(given: Mapping[str, Any]) -> None:
    if given.get("cache"):
        if not given.get("cache_version"):
            raise ValueError("cache_version is missing: cache=True needs one, to be changed with the function")
    elif wrong := next((field for field in OF_CACHE if given.get(field)), ""):
        raise ValueError(f"{wrong} is given without cache=True")
    for name in given.get("cache_ignore_input_vars", ()):
        if not isinstance(name, str):
            raise TypeError(f"cache_ignore_input_vars has {_shown(name)}: it takes names of parameters")


def _check_decks(given: Mapping[str, Any]) -> None:
    for field in given.get("deck_fields") or ():
        if (field.value if isinstance(field, Enum) else field) not in DECK_FIELDS:
            raise ValueError(f"deck_fields has {_shown(field)}: it takes {', '.join(sorted(DECK_FIELDS))}")


GENERATORS: tuple[tuple[str, str], ...] = (
    ("retries", "what was yielded cannot be taken back"),
    ("timeout", "between its steps runs somebody else's code"),
    ("cache", "what it yields is not stored"),
)
"""(option, why it cannot be had for a generator)."""


def check_function(function: Callable[..., Any], chosen: Options) -> None:
    """Check the options against the function. Raises TypeError or ValueError, which name the option."""
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        for field, why in GENERATORS:
            if getattr(chosen, field):
                raise TypeError(f"{field} cannot be had for a generator function: {why}")
    if chosen.cache_ignore_input_vars:
        parameters = inspect.signature(function).parameters
        for name in chosen.cache_ignore_input_vars:
            if name not in parameters:
                raise ValueError(
                    f"cache_ignore_input_vars has {name!r}: the function has {', '.join(parameters) or 'none'}"
                )
