"""``timeout`` of ``@task``: when it has passed, the attempt ends with TimeoutError, and its caller goes on at once.

| what runs | what ends it |
|---|---|
| a coroutine | it is cancelled; one that blocks its event loop, or refuses to be cancelled, ends when it ends |
| a function | it has a thread of its own, in which ``AttemptEnded`` is raised at its next step of Python code |
| a call into C that takes its time (sleep, a read, a solver) | nothing: it ends with that call |
| code that catches ``AttemptEnded``, a thread or process that the function started | nothing |
| a function that is called while the interpreter ends (an exit handler; Python 3.12 starts no thread then) | nothing |
| a function whose caller is traced (a debugger, coverage), on Python 3.11 | nothing: ``TRACED`` says why |

A function that still runs ``PATIENCE`` later is left running: its caller goes on, its result is discarded, and the span
and the error say so.
"""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from otel_events.inprocess.faults import fault

PATIENCE = 0.2
"""Seconds from the end of its time in which a function may still end, before it is left running."""


TRACED = sys.version_info < (3, 12)
"""Up to Python 3.11 a thread that is traced stands still for as long as an exception waits to be raised in another one,
which may be until a read ends (ceval.c: DO_TRACING repeats the first step of each call)."""
STEPS = 100
"""Steps of a loop: one is enough for an exception that waits to be raised."""


class AttemptEnded(BaseException):
    """Raised in a function whose time is over. No ``Exception``, so that ``except Exception`` does not catch it."""


class Deadline:
    """The timeout of one attempt. ``left_running``: its function could not be ended, and still runs."""

    def __init__(self, name: str, seconds: float) -> None:
        self._name, self._seconds = name, seconds
        self.left_running = False

    def call(self, function: Callable[[], Any]) -> Any:
        """The result of ``function``, or what it raises; TimeoutError."""
        work = _Work(function, self._name)
        if not work.over.wait(self._seconds) and work.end():
            self.left_running = not work.over.wait(PATIENCE)
            raise TimeoutError(self._late())
        return work.result()

    async def wait(self, function: Callable[[], Awaitable[Any]]) -> Any:
        """The same of a coroutine."""
        try:
            async with asyncio.timeout(self._seconds) as limit:
                return await function()
        except TimeoutError:
            if limit.expired():
                raise TimeoutError(self._late()) from None
            raise

    def _late(self) -> str:
        goes_on = "; it cannot be ended from outside and goes on in its thread" if self.left_running else ""
        return f"{self._name} took more than {self._seconds:g} s{goes_on}"


class _Work:
    """A function in a thread of its own, in the context of its caller."""

    def __init__(self, function: Callable[[], Any], name: str) -> None:
        self.over = threading.Event()
        self._function, self._lock = function, threading.Lock()
        self._ended: tuple[bool, Any] | None = None
        self._asked = False
        self._thread = threading.Thread(
            target=contextvars.copy_context().run, args=(self._run,), name=f"{name} (timeout)", daemon=True
        )
        try:
            self._thread.start()
        except RuntimeError as error:  # the interpreter is on its way out, or there are no more threads to have
            fault("the timeout of a task", error)
            contextvars.copy_context().run(self._run)

    def end(self) -> bool:
        """Ask the function to end, where that is possible; False where it has ended already."""
        with self._lock:
            if self._ended is not None:
                return False
            if not (TRACED and sys.gettrace()):
                self._asked = True
                _raise_in(self._thread, AttemptEnded)
            return True

    def result(self) -> Any:
        """What the function returned; raises what it raised."""
        assert self._ended is not None, "result() before it ended"  # noqa: S101  # the order of calls in Deadline
        (succeeded, result), self._ended = self._ended, None
        if succeeded:
            return result
        try:
            raise result
        finally:
            del result  # else error and frame hold each other

    def _run(self) -> None:
        try:
            try:
                ended: tuple[bool, Any] = True, self._function()
            except BaseException as error:  # noqa: BLE001  # raised again in the caller's thread
                ended = False, error
            with self._lock:  # from here on ``end`` does nothing
                self._ended = ended
            # Where AttemptEnded was not raised yet, it is raised in this loop. Taking it back instead would leave the
            # interpreter looking for it at every step.
            for _ in range(STEPS if self._asked else 0):
                pass
        except AttemptEnded:  # raised after the function had ended
            pass
        finally:
            self.over.set()


def _raise_in(thread: threading.Thread, error: type[BaseException]) -> None:
    """Have an exception raised at the next step of a thread."""
    if thread.ident is not None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(error))
