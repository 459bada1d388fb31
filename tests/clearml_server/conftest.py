"""A served gateway, as the server's tests have it."""

from __future__ import annotations

from tests.server.conftest import opened as opened
from tests.server.conftest import shared as shared
