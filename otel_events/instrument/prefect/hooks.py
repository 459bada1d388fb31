"""What wraps Prefect's methods: each calls the original with the same arguments, emits events of what it saw, and
raises nothing of its own (law 5)."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any

from otel_events.inprocess.faults import fault
from otel_events.inprocess.queue import emit
from otel_events.instrument.prefect import records
from otel_events.sources.prefect.decode import decode

Method = Callable[..., Any]
BEGUN = "_otel_events_begun"
"""Attribute of an engine whose first state was seen."""
OTHERS = ("ProcessPoolForwardingEventsClient", "PrefectServerEventsClient")
"""Clients whose events are emitted elsewhere: the child of a process pool hands them to its parent, which emits them;
the server's own client has the events of all flow runs, which their own processes emit."""


def _observed(original: Method, before: Callable[..., Any], after: Callable[..., None]) -> Method:
    """``after(self, what before(self, *args) returned)``, however the call went; both may fail unseen."""

    if iscoroutinefunction(original):

        @wraps(original)
        async def call_async(self: Any, *args: Any, **kwargs: Any) -> Any:
            state = _guarded(before, self, *args)
            try:
                return await original(self, *args, **kwargs)
            finally:
                _guarded(after, self, state)

        return call_async

    @wraps(original)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        state = _guarded(before, self, *args)
        try:
            return original(self, *args, **kwargs)
        finally:
            _guarded(after, self, state)

    return call


def _guarded(function: Callable[..., Any], *args: Any) -> Any:
    try:
        return function(*args)
    except Exception as error:  # noqa: BLE001  # Prefect's objects, in the middle of the host's run
        fault("the instrumentation of a run of Prefect's", error)
        return None


def _emit(record: bytes) -> None:
    for event in decode(record):
        emit(event)


# --- events that the client makes: all of tasks, and whatever the user emits ------------------------------------------


def emitted(original: Method) -> Method:
    """``EventsClient.emit``. An event that a client sends again has the same id."""
    return _observed(original, _emitted, lambda client, state: None)


def _emitted(client: Any, event: Any) -> None:
    if type(client).__name__ not in OTHERS:
        _emit(event.model_dump_json().encode())


# --- states of flow runs, which the server makes events of ------------------------------------------------------------


def flow_state(original: Method) -> Method:
    """``set_state`` of the engines of flows: the state that the server has accepted, as in the server's own event; the
    first time also the state before it, and what only this process has of the run."""
    return _observed(original, _flow_before, _flow_after)


def _flow_before(engine: Any, *args: Any) -> Any:
    run = engine.flow_run
    if not vars(engine).get(BEGUN):
        vars(engine)[BEGUN] = True
        for record in records.begun(run):
            _emit(record)
        if run.state is not None:
            _emit(records.flow_state(run, engine.flow.name, run.state, None))
    return run.state


def _flow_after(engine: Any, before: Any) -> None:
    state = engine.flow_run.state
    if state is not None and (before is None or state.id != before.id):
        _emit(records.flow_state(engine.flow_run, engine.flow.name, state, before))
        if before is not None and before.is_scheduled() and state.is_running():
            _emit_again(engine, state)


def _emit_again(engine: Any, state: Any) -> None:
    log = records.again(engine.flow_run, engine.flow.name, state)
    if log is not None:
        emit(log)


# --- errors of attempts -----------------------------------------------------------------------------------------------


def failed(original: Method) -> Method:
    """``handle_exception``, ``handle_timeout`` and ``handle_crash`` of all engines: what ended the attempt."""
    return _observed(original, _raised, _failed)


def _raised(engine: Any, error: BaseException, *args: Any) -> tuple[BaseException, int]:
    return error, time.time_ns()


def _failed(engine: Any, raised: tuple[BaseException, int] | None) -> None:
    if raised is not None:
        emit(records.failure(engine, *raised))
