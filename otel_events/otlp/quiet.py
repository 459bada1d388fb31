"""Loads gRPC's library with its informational log off: when a process forks during a call, it would write a line to the
user's stderr. Its warnings and errors stay on."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

VERBOSITY = "GRPC_VERBOSITY"


@contextmanager
def quiet_grpc() -> Iterator[None]:
    """A context in which gRPC loads quietly.

    A verbosity that the user has set stays, and a library that is loaded already is left as it is. The variable is
    unset afterwards, so that no child process inherits it.
    """
    if VERBOSITY in os.environ or "grpc" in sys.modules:
        yield
        return
    os.environ[VERBOSITY] = "ERROR"
    try:
        yield
    finally:
        os.environ.pop(VERBOSITY, None)
