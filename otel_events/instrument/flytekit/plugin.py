"""The entry point of the group ``flytekit.plugins``: flytekit imports this module at the end of its own import, in pods
too, with no change of anybody's code.

It does something only where the environment asks for telemetry (a gateway, a journal or an endpoint is named), and
raises nothing: an error here would make flytekit itself fail to import.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping

from otel_events.instrument.wanted import telemetry_wanted


def wanted(environ: Mapping[str, str]) -> bool:
    """Whether to instrument this process."""
    return telemetry_wanted("flytekit", environ)


def start() -> None:
    """Instrument this process, and configure it unless something has."""
    # Half a second of imports, which processes without telemetry need not pay.
    from otel_events.instrument.flytekit import FlytekitInstrumentor  # see above
    from otel_events.instrument.start import start_with  # see above

    start_with(FlytekitInstrumentor())


try:
    if wanted(os.environ):
        start()
except Exception:
    logging.getLogger("otel_events").exception("flytekit is not instrumented")
