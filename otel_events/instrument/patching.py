"""What all instrumentors share: which functions are wrapped, when, and how all of that is undone.

An instrumentor is a table of ``Hook`` and a class derived from ``SystemInstrumentor``, which says in ``_begin`` which
hooks are put in place once which module is imported.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable
from importlib import import_module
from typing import Any, ClassVar, NamedTuple

from opentelemetry.instrumentation.dependencies import get_dependency_conflicts
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]  # marked untyped
from wrapt import register_post_import_hook

from otel_events.inprocess.faults import fault

_logger = logging.getLogger("otel_events")


class Hook(NamedTuple):
    """A function of the instrumented system, and what wraps it."""

    module: str
    owner: str
    """Class that the function is in; "" for a function of the module."""
    name: str
    wrap: Callable[[Any], Any]
    """Takes the function, and returns what is called in its place."""


class Patches:
    """The hooks that are in place, and what else has to be undone."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], object]] = []

    def __bool__(self) -> bool:
        return bool(self._undo)

    def put(self, hooks: Iterable[Hook]) -> None:
        """Wrap the functions. Raises what importing a module raises, and KeyError for a function that is not there;
        those that were wrapped by then stay so until ``undo``."""
        for hook in hooks:
            module = import_module(hook.module)
            owner = getattr(module, hook.owner) if hook.owner else module
            # From the dict, not by getattr: that would bind methods, and find what the class only inherits.
            original = owner.__dict__[hook.name]
            setattr(owner, hook.name, hook.wrap(original))
            self.on_undo(_restoring(owner, hook.name, original))

    def on_undo(self, *undo: Callable[[], object]) -> None:
        """Call these at ``undo``."""
        self._undo += undo

    def undo(self) -> None:
        """Put everything back, the last one first; any number of times."""
        while self._undo:
            self._undo.pop()()


def _restoring(owner: Any, name: str, original: Any) -> Callable[[], None]:
    def restore() -> None:
        setattr(owner, name, original)

    return restore


class SystemInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # it is marked untyped
    """Instruments one system, now or when it is imported; ``uninstrument()`` puts everything back.

    Importing a system takes seconds that a program may not want to spend, so none is imported here.
    """

    system: ClassVar[str]
    """Its name in the log."""
    supported: ClassVar[tuple[str, ...]]
    """The versions that are instrumented, as requirements."""

    def instrumentation_dependencies(self) -> Collection[str]:
        """The versions that are instrumented."""
        return self.supported

    def _begin(self) -> None:
        """Put hooks in place, most of them by ``_when_imported``; the system's version is supported."""
        raise NotImplementedError

    def _instrument(self, **kwargs: Any) -> None:
        self._patches = Patches()
        self._call: object | None = object()
        # opentelemetry-instrument checks this too, configure() in code does not.
        conflict = get_dependency_conflicts(self.supported)
        if conflict is None:
            self._begin()
        elif conflict.found:  # another version is installed; where there is none, there is nothing to say
            _logger.warning("%s is not instrumented: %s", self.system, conflict)

    def _when_imported(self, name: str, put: Callable[[Any], None]) -> None:
        """Call ``put`` with the module ``name``: at once where it is imported, else when it will be. What ``put``
        raises is counted: the host is in the middle of an import.

        wrapt has no way to take a registration back. One that waits since an earlier ``instrument()`` is recognised by
        the token of that call, and does nothing: it would wrap a second time.
        """
        call = self._call

        def imported(module: Any) -> None:
            if self._call is not call:
                return
            try:
                put(module)
            except Exception as error:  # noqa: BLE001  # the system is being imported by the host
                fault(f"the instrumentation of {name}", error)

        register_post_import_hook(imported, name)

    def _uninstrument(self, **kwargs: Any) -> None:
        self._call = None
        self._patches.undo()
