"""gRPC's library, loaded with its informational log off: of a fork beside a call under way it would write a line to the
user's stderr. Its warnings and errors stay."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

VERBOSITY = "GRPC_VERBOSITY"


@contextmanager
def quiet_grpc() -> Iterator[None]:
    """Within it, gRPC is loaded so. What the user has set stays, and so does a library that is loaded already; the
    variable is gone afterwards, so that no child process sees it."""
    if VERBOSITY in os.environ or "grpc" in sys.modules:
        yield
        return
    os.environ[VERBOSITY] = "ERROR"
    try:
        yield
    finally:
        os.environ.pop(VERBOSITY, None)
