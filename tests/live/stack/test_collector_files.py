"""Every configuration of the collector, checked by the binary that runs it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from scripts.stack_binaries import COLLECTOR, ROOT, binary

FOLDER = ROOT / "collector"
SETS = {"agent": ["agent.yaml"], "gateway": ["gateway.yaml"], "agent with Kafka": ["agent.yaml", "kafka.yaml"]}


@pytest.mark.timeout(1800)  # the first call may build it
@pytest.mark.parametrize("files", SETS.values(), ids=list(SETS))
def test_the_binary_takes_it(files: list[str], tmp_path: Path) -> None:
    for name in ("cert.pem", "key.pem", "token"):
        (tmp_path / name).write_text("x")
    given = {
        "QUEUE_DIR": str(tmp_path / "queue"),
        "NEXT_TOKEN": "x",
        "TOKEN_FILE": str(tmp_path / "token"),
        "TLS_CERT": str(tmp_path / "cert.pem"),
        "TLS_KEY": str(tmp_path / "key.pem"),
    }
    named = [item for name in files for item in ("--config", str(FOLDER / name))]
    done = subprocess.run(
        [str(binary(COLLECTOR)), "validate", *named],
        env=os.environ | given,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["agent.yaml", "gateway.yaml", "kafka.yaml"])
def test_nothing_stands_between_a_receiver_and_a_queue_that_keeps(name: str) -> None:
    config = yaml.safe_load((FOLDER / name).read_text())
    for pipeline in config["service"]["pipelines"].values():
        assert pipeline["processors"] == ["memory_limiter"]
    for exporter, settings in config["exporters"].items():
        if exporter not in ("debug", "prometheus"):
            assert settings["sending_queue"]["storage"] == "file_storage/queue", exporter
            assert settings["retry_on_failure"]["max_elapsed_time"] == "0s", exporter


@pytest.mark.parametrize("name", ["agent.yaml", "gateway.yaml"])
def test_listeners_are_on_loopback_unless_told_otherwise(name: str) -> None:
    text = (FOLDER / name).read_text()
    assert "0.0.0.0" not in text  # noqa: S104 - that it is not there is the point
    assert "fsync: true" in text
