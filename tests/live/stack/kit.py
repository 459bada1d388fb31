"""What the tests of the whole stack share: questions to Prometheus, and waiting for what is true in the end."""

from __future__ import annotations

import json
import re
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any

LONG = 180
"""Seconds: two busy cores run eight processes."""

Sample = tuple[dict[str, str], float]


class Prometheus:
    """Queries as a dashboard asks them, every variable set to all."""

    def __init__(self, url: str) -> None:
        self.url = url

    def query(self, expr: str) -> list[Sample]:
        """An instant vector now. AssertionError with Prometheus' words where it refuses the expression."""
        found = self._get("/api/v1/query", query=substituted(expr))["result"]
        return [(one["metric"], float(one["value"][1])) for one in found]

    def label_values(self, selector: str, label: str) -> list[str]:
        values: list[str] = self._get(f"/api/v1/label/{label}/values", **{"match[]": substituted(selector)})
        return values

    def exemplars(self, expr: str) -> list[dict[str, Any]]:
        now = time.time()
        found: list[dict[str, Any]] = self._get("/api/v1/query_exemplars", query=expr, start=now - 900, end=now + 60)
        return [exemplar for one in found for exemplar in one["exemplars"]]

    def rules(self) -> list[dict[str, Any]]:
        return [rule for group in self._get("/api/v1/rules")["groups"] for rule in group["rules"]]

    def total(self, expr: str) -> float:
        return sum(value for _, value in self.query(expr))

    def _get(self, path: str, **asked: Any) -> Any:
        url = f"{self.url}{path}?{urllib.parse.urlencode(asked)}"
        status, told = get(url)
        assert status == 200, f"{asked}: {told}"
        return json.loads(told)["data"]


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - an address of our own
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def substituted(expr: str) -> str:
    """Grafana's variables filled in: the time shown is five minutes, of which a rate sees one."""
    expr = expr.replace("$__rate_interval", "1m").replace("$__range", "5m")
    return re.sub(r"\$\{?[a-z_]+\}?", ".*", expr)


def wait_for(what: str, found: Callable[[], Any], seconds: float = LONG) -> Any:
    """What ``found`` gives once it is true. AssertionError after so many seconds."""
    end = time.monotonic() + seconds
    while True:
        try:
            if value := found():
                return value
        except OSError:
            pass
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.25)
