"""``pyflyte-execute``: the task of a pod, from the loading of its code to the upload of what it made."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any

from otel_events.inprocess import process
from otel_events.inprocess.faults import fault
from otel_events.instrument.environment import OTEL_EVENTS_GATEWAY
from otel_events.instrument.flytekit.calls import Call, emit_phase, error_of
from otel_events.instrument.flytekit.pod import pod
from otel_events.instrument.flytekit.runs import Frame
from otel_events.model.event import Error, Scalar

STACK_LIMIT = 16_384
"""Characters of the trace that flytekit writes for Flyte."""
_SYSTEM = 2


def dispatched(original: Callable[..., Any], environ: Mapping[str, str] = os.environ) -> Callable[..., Any]:
    """``flytekit.bin.entrypoint._dispatch_execute``. It swallows the errors of the task and writes them to files for
    Flyte, so the outcome is read from there. Events are sent before it returns: the pod may be killed after that."""

    @wraps(original)
    def call(ctx: Any, load_task: Any, inputs_path: str, output_prefix: str, is_map_task: bool = False) -> Any:
        run = _begin(output_prefix, is_map_task, environ)
        if run is None:
            return original(ctx, load_task, inputs_path, output_prefix, is_map_task)
        error: BaseException | None = None
        try:
            return original(ctx, load_task, inputs_path, output_prefix, is_map_task)
        except BaseException as raised:
            error = raised
            raise
        finally:
            _end(run, ctx, error, environ)

    return call


def _begin(output_prefix: str, is_map_task: bool, environ: Mapping[str, str]) -> Call | None:
    try:
        index = _index() if is_map_task else None
        attempt = pod(environ, output_prefix, index)
        return Call(Frame(attempt.run, moments=True), attempt.attributes) if attempt else None
    except Exception as error:  # noqa: BLE001  # an error of ours: the task runs
        fault("the attempt of this pod", error)
        return None


def _index() -> int:
    number: int = sys.modules["flytekit.bin.entrypoint"]._compute_array_job_index()  # this is called from it
    return number


def _end(call: Call, ctx: Any, raised: BaseException | None, environ: Mapping[str, str]) -> None:
    try:
        call.leave()
        written = _written(ctx)
        error = error_of(raised, stack=True) if raised and not written else written
        _emit_end(call, error, environ)
        process.shutdown()
    except Exception as failure:  # noqa: BLE001  # an error of ours: flytekit goes on
        fault("the end of this pod's attempt", failure)


def _emit_end(call: Call, error: Error | None, environ: Mapping[str, str]) -> None:
    """Beside a gateway Flyte's own events tell the outcome, later and with more: here the attempt is "finalizing"."""
    outcome = "succeeded" if error is None else "crashed" if error.kind == "system" else "failed"
    attributes: dict[str, Scalar] = call.gathered()
    emit_phase(call.frame.run, "finalizing" if environ.get(OTEL_EVENTS_GATEWAY) else outcome, attributes, error)


def _written(ctx: Any) -> Error | None:
    """The error that flytekit left for Flyte, under Flyte's own code; None where there is none."""
    from flyteidl.core import errors_pb2  # of flytekit, which may not be installed where this module is imported

    for path in sorted(Path(ctx.execution_state.engine_dir).glob("error*.pb")):
        error = errors_pb2.ErrorDocument.FromString(path.read_bytes()).error
        kind = "system" if error.origin == _SYSTEM else "user"
        message = error.message.rpartition("Message:")[2].strip() or error.message
        return Error(error.code, message[:STACK_LIMIT], kind, error.message[:STACK_LIMIT])  # type: ignore[arg-type]  # one of the two
    return None
