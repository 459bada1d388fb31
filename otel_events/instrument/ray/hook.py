"""The ``worker_process_setup_hook`` that ``ray.init`` is called with: what starts in each worker of the job."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from otel_events.inprocess import process
from otel_events.instrument.start import configured

HOOK = "worker_process_setup_hook"
_logger = logging.getLogger("otel_events")
OF_ITS_OWN = ("OTEL_EVENTS_JOURNAL", "OTEL_EVENTS_PARENT")
"""Variables that say nothing to another process, or machine."""
SECRET = ("HEADERS", "TOKEN", "KEY", "CERTIFICATE")
"""Parts of the names of variables that stay where they are: a setup hook is kept in the cluster's store."""
DRIVEN = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Variable of the driver of a submitted job: what that was submitted with."""


def with_hook(args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """What to call ``ray.init`` with in place of ``kwargs``, which is not changed. The hook that is there already runs
    after ours. Where none can be put in, all stays as it is, and that is told."""
    given = kwargs.get("runtime_env")
    refused = _refused(args, kwargs)
    if refused or not isinstance(given, dict | None):
        _logger.warning("%s: name otel_events.instrument.ray.worker.start as its %s", refused or "a runtime_env", HOOK)
        return dict(kwargs)
    made = setup(settings(os.environ), (given or {}).get(HOOK))
    runtime_env = type(given)(**given) if given is not None else {}  # dict, or Ray's RuntimeEnv, which is one
    runtime_env[HOOK] = made
    return {**kwargs, "runtime_env": runtime_env}


def _refused(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """Why ``ray.init`` takes no hook of ours here; "" where it does."""
    address = args[0] if args else kwargs.get("address") or os.environ.get("RAY_ADDRESS", "")
    if isinstance(address, str) and "://" in address:
        return "Ray Client takes no function as a setup hook"
    if getattr(kwargs.get("job_config"), "runtime_env", None):
        return "the job_config of ray.init has a runtime_env of its own"
    if HOOK in os.environ.get(DRIVEN, ""):
        return "the job was submitted with a setup hook of its own"
    return ""


def settings(environ: Mapping[str, str]) -> dict[str, str] | None:
    """The variables of OpenTelemetry that a worker is to have where it has none of its own; None where nothing is
    recorded of this process: then nothing is of its workers."""
    if not configured():
        return None
    told = {
        name: value
        for name, value in environ.items()
        if name.startswith("OTEL_") and name not in OF_ITS_OWN and not any(part in name for part in SECRET)
    }
    own = process.handed()
    if own is not None and own.gateway:
        told["OTEL_EVENTS_GATEWAY"] = own.gateway
    return told


def setup(settings: dict[str, str] | None, theirs: Callable[[], object] | str | None) -> Callable[[], None]:
    """The hook. Ray pickles it by value, for it is no function of a module: a worker whose environment has no
    otel-events goes without, and starts all the same."""

    def otel_events_in_the_worker() -> None:
        try:
            from otel_events.instrument.ray.worker import start

            start(settings)
        except Exception:
            import logging

            logging.getLogger("otel_events").exception("this worker of Ray is not instrumented")
        if isinstance(theirs, str):
            from importlib import import_module

            module, _, name = theirs.rpartition(".")
            getattr(import_module(module), name)()
        elif theirs is not None:
            theirs()

    return otel_events_in_the_worker
