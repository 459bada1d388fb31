"""The ``worker_process_setup_hook`` that ``ray.init`` is called with: it starts us in each worker of the job."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from otel_events.inprocess import process
from otel_events.instrument.start import configured

HOOK = "worker_process_setup_hook"
START = "otel_events.instrument.ray.worker.start"
"""What the hook calls in a worker. By name, as Ray itself names hooks: it is looked up in another process."""
_logger = logging.getLogger("otel_events")
OF_ITS_OWN = ("OTEL_EVENTS_JOURNAL", "OTEL_EVENTS_PARENT")
"""Variables that have no meaning in another process, or on another machine."""
SECRET = ("HEADERS", "TOKEN", "KEY", "CERTIFICATE")
"""Parts of the names of variables that are not passed on: a setup hook is stored in the cluster."""
DRIVEN = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Variable of the driver of a submitted job: the options that it was submitted with."""


def with_hook(args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Add our hook to the arguments of ``ray.init``. A hook that is there already runs after ours.

    Args:
        args: The positional arguments.
        kwargs: The others; they are not changed.

    Returns:
        What to call ``ray.init`` with in place of ``kwargs``; a copy of it where no hook can be added, which is logged.
    """
    given = kwargs.get("runtime_env")
    refused = _refused(args, kwargs)
    if refused or not isinstance(given, dict | None):
        _logger.warning("%s: name %s as its %s", refused or "a runtime_env", START, HOOK)
        return dict(kwargs)
    runtime_env = type(given)(**given) if given is not None else {}  # dict, or Ray's RuntimeEnv, which is one
    runtime_env[HOOK] = setup(settings(os.environ), (given or {}).get(HOOK))
    return {**kwargs, "runtime_env": runtime_env}


def _refused(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """Why our hook cannot be added here; "" where it can."""
    address = args[0] if args else kwargs.get("address") or os.environ.get("RAY_ADDRESS", "")
    if isinstance(address, str) and "://" in address:
        return "Ray Client takes no function as a setup hook"
    if getattr(kwargs.get("job_config"), "runtime_env", None):
        return "the job_config of ray.init has a runtime_env of its own"
    if HOOK in os.environ.get(DRIVEN, ""):
        return "the job was submitted with a setup hook of its own"
    return ""


def settings(environ: Mapping[str, str]) -> dict[str, str] | None:
    """The variables of OpenTelemetry for workers that have none of their own; None where nothing is recorded of this
    process, and so nothing of its workers."""
    if not configured():
        return None
    variables = {
        name: value
        for name, value in environ.items()
        if name.startswith("OTEL_") and name not in OF_ITS_OWN and not any(part in name for part in SECRET)
    }
    own = process.settings_for_child()
    if own is not None and own.gateway:  # named in code, not by a variable
        variables["OTEL_EVENTS_GATEWAY"] = own.gateway
    return variables


def setup(settings: dict[str, str] | None, theirs: Callable[[], object] | str | None) -> Callable[[], None]:
    """The hook.

    It is a function inside a function, so that Ray pickles it by value: a worker whose environment has no otel-events
    starts all the same, without us. For the same reason it imports what it needs itself.

    Args:
        settings: What START is called with.
        theirs: The user's own hook, or its name.

    Returns:
        A function that calls both; the errors of ours are logged, those of theirs are raised.
    """
    start = START

    def otel_events_in_the_worker() -> None:
        import logging  # pickled by value, see above
        from importlib import import_module  # pickled by value, see above

        def look_up(name: str) -> Callable[..., object]:
            module, _, attribute = name.rpartition(".")
            function: Callable[..., object] = getattr(import_module(module), attribute)
            return function

        try:
            look_up(start)(settings)
        except Exception:
            logging.getLogger("otel_events").exception("this worker of Ray is not instrumented")
        if theirs is not None:
            (look_up(theirs) if isinstance(theirs, str) else theirs)()

    return otel_events_in_the_worker
