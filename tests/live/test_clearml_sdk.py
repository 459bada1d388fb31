"""ClearML's own SDK, unmodified, against ``otel-events serve --clearml``: what it reports is what it reads back, and
each task is one trace with its phases.

All of it runs in namespaces of its own (namespace.py), on ClearML's own ports, with a HOME of its own. What came out is
told in a JSON file and held to what the programs in clearml_programs/ say that they sent.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from otel_events.model.identity import trace_id
from otel_events.model.telemetry import SpanData
from otel_events.testing import CaptureServer
from tests.live import namespace
from tests.live.envs import python

PROGRAMS = Path(__file__).parent / "clearml_programs"
API, FILES, GATEWAY = 8008, 8081, 4319
TEE, TEE_GATEWAY = 8009, 4320
LONG = 240.0
"""Seconds until something that should happen is a failure; the machine may be busy."""
KEY, SECRET = "live-key", "live-secret"
TOKEN = "hunter2hunter2"  # noqa: S105 - what must not come out anywhere


# --- within the namespace --------------------------------------------------------------------------------------------


def environ(folder: Path, **more: str) -> dict[str, str]:
    """Nothing of the machine's own ClearML, OpenTelemetry or proxies; a HOME of its own."""
    kept = {key: os.environ[key] for key in ("PATH", "LANG", "OTEL_EVENTS_LIVE") if key in os.environ}
    places = {name: str(folder / short) for name, short in (("HOME", "home"), ("TMPDIR", "tmp"))}
    for place in places.values():
        Path(place).mkdir(exist_ok=True)
    return kept | places | more


def sdk(folder: Path, api: int = API) -> dict[str, str]:
    """What docs/clearml.md tells users to set."""
    return environ(
        folder,
        CLEARML_API_HOST=f"http://127.0.0.1:{api}",
        CLEARML_WEB_HOST=f"http://127.0.0.1:{API}",
        CLEARML_FILES_HOST=f"http://127.0.0.1:{FILES}",
        CLEARML_API_ACCESS_KEY=KEY,
        CLEARML_API_SECRET_KEY=SECRET,
    )


def wait_for(what: str, found: Callable[[], Any]) -> None:
    end = time.monotonic() + LONG
    while not found():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {LONG:g} seconds")
        time.sleep(0.1)


def serve(folder: Path, collector: CaptureServer, port: int, *options: str) -> subprocess.Popen[str]:
    """A gateway that listens by now; its errors in ``folder/PORT.err``."""
    command = [sys.executable, "-m", "otel_events", "serve", "--port", str(port), "--grace", "2"]
    command += ["--journal", str(folder / f"{port}.db"), *options]
    credentials = {"OTEL_EVENTS_CLEARML_KEY": KEY, "OTEL_EVENTS_CLEARML_SECRET": SECRET}
    clean = environ(folder, **collector.environ("http/protobuf"), **credentials)
    told = folder / f"{port}.err"
    with told.open("w") as err:
        process = subprocess.Popen(command, env=clean, cwd=namespace.ROOT, stderr=err, text=True)
    wait_for("the gateway", lambda: "listening" in told.read_text() or process.poll() is not None)
    assert process.poll() is None, told.read_text()
    return process


def stop(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    process.wait(30)


class Programs:
    """Runs what is in clearml_programs/ in the SDK's environment. Copies of it, outside of any git repository: the SDK
    asks git from a thread while it forks its reporter, which now and then ends in a deadlock of its own."""

    def __init__(self, folder: Path, interpreter: Path) -> None:
        self.folder, self._interpreter = folder, interpreter
        self._copies = shutil.copytree(PROGRAMS, folder / "programs")
        self.codes: dict[str, int] = {}

    def start(self, name: str, *arguments: object, clean: Mapping[str, str]) -> subprocess.Popen[bytes]:
        command = [str(self._interpreter), str(self._copies / f"{name}.py"), *map(str, arguments)]
        with (self.folder / f"{name}.out").open("a") as out:
            return subprocess.Popen(command, env=dict(clean), cwd=self.folder, stdout=out, stderr=out)

    def ended(self, name: str, process: subprocess.Popen[bytes]) -> None:
        self.codes[name] = process.wait(LONG)

    def run(self, name: str, *arguments: object, clean: Mapping[str, str]) -> None:
        self.ended(name, self.start(name, *arguments, clean=clean))

    def run_alone(self, name: str, *arguments: object, clean: Mapping[str, str]) -> None:
        """A program in which nothing of ours runs: where the SDK hangs by itself, it is begun once more."""
        for patience in (LONG / 4, LONG):
            process = self.start(name, *arguments, clean=clean)
            try:
                self.codes[name] = process.wait(patience)
                return
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        raise AssertionError(f"{name} hung twice: {self.said(name)[-3000:]}")

    def said(self, name: str) -> str:
        return (self.folder / f"{name}.out").read_text()


def scene(folder: Path, interpreter: Path) -> None:
    """A run that succeeds, one that fails, one that is stopped, one through a tee, one offline; ``folder/out.json``."""
    programs, clean = Programs(folder, interpreter), sdk(folder)
    with CaptureServer() as collector, CaptureServer() as beyond:
        gateway = serve(folder, collector, GATEWAY, "--clearml")
        programs.run("train", folder / "train.json", clean=clean)
        assert programs.codes["train"] == 0, programs.said("train")[-3000:]
        sent = json.loads((folder / "train.json").read_text())
        programs.run("fail", folder / "fail", clean=clean)
        stopped(programs, folder, clean)
        programs.run("read", sent["task"], sent["model"], folder / "read.json", clean=clean)
        assert programs.codes["read"] == 0, programs.said("read")[-3000:]
        tee = serve(
            folder, beyond, TEE_GATEWAY, "--clearml-upstream", f"http://127.0.0.1:{API}", "--clearml-port", str(TEE)
        )
        programs.run("fail", folder / "tee", clean=sdk(folder, TEE))
        ids = {name: (folder / name).read_text() for name in ("fail", "wait", "tee")} | {"train": sent["task"]}
        wait_for("all spans", lambda: traces(collector) >= {trace_id("clearml", "", task) for task in ids.values()})
        wait_for("the tee's", lambda: traces(beyond) >= {trace_id("clearml", "", ids["tee"])})
        metrics = urllib.request.urlopen(f"http://127.0.0.1:{GATEWAY}/metrics", timeout=10).read().decode()
        stop(tee)
        stop(gateway)
        programs.run_alone("offline", folder / "offline.json", clean=clean)
        out = {
            "sent": sent,
            "ids": ids,
            "codes": programs.codes,
            "metrics": metrics,
            "read": json.loads((folder / "read.json").read_text()),
            "spans": [told(span) for span in collector.spans()],
            "beyond": [told(span) for span in beyond.spans()],
            "logs": [[log.trace_id.hex(), str(log.body)] for log in collector.logs()],
            "offline": replayed(folder),
        }
    (folder / "out.json").write_text(json.dumps(out))


def stopped(programs: Programs, folder: Path, clean: Mapping[str, str]) -> None:
    """A run that another client stops: the SDK sees it, and ends its process."""
    waiting = programs.start("wait", folder / "wait", clean=clean)
    wait_for("the waiting task", (folder / "wait").exists)
    wait_for("its id", lambda: (folder / "wait").read_text())
    programs.run("stop", (folder / "wait").read_text(), clean=clean)
    programs.ended("wait", waiting)


def traces(collector: CaptureServer) -> set[bytes]:
    return {span.trace_id for span in collector.spans()}


def told(span: SpanData) -> dict[str, Any]:
    return {
        "trace": span.trace_id.hex(),
        "span": span.span_id.hex(),
        "name": span.name,
        "seconds": (span.end - span.start) / 1e9,
        "attributes": dict(span.attributes),
        "end": span.end,
        "events": [event.name for event in span.events],
        "exceptions": [dict(event.attributes) for event in span.events if event.name == "exception"],
    }


def replayed(folder: Path) -> dict[str, Any]:
    """What ``replay clearml`` makes of the offline session."""
    made: dict[str, Any] = json.loads((folder / "offline.json").read_text())
    command = [sys.executable, "-m", "otel_events", "replay", "clearml", made["session"], "--out", str(folder / "out")]
    done = subprocess.run(
        command, cwd=namespace.ROOT, env=environ(folder), capture_output=True, text=True, check=False, timeout=LONG
    )
    files = {path.name: path.read_text() for path in (folder / "out").glob("*")}
    return made | {"code": done.returncode, "said": done.stderr, "files": files}


# --- what came out ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def played() -> Iterator[dict[str, Any]]:
    interpreter = python("clearml")
    with tempfile.TemporaryDirectory(prefix="otel-events-") as name:
        done = namespace.run(__name__, name, str(interpreter), timeout=4 * LONG)
        assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        yield json.loads((Path(name) / "out.json").read_text())


def span_of(played: dict[str, Any], name: str, of: str = "spans") -> dict[str, Any]:
    """The one span of a task."""
    wanted = trace_id("clearml", "", played["ids"][name]).hex()
    (found,) = (span for span in played[of] if span["trace"] == wanted)
    return dict(found)


def test_scalars_are_read_as_they_were_sent(played: dict[str, Any]) -> None:
    sent, read = played["sent"]["scalars"], played["read"]
    assert read["all"].pop("Summary") == {"accuracy": {"x": [-(2**31)], "y": [0.9375], "name": "accuracy"}}
    for found in (read["scalars"], read["all"]):
        ours = {title: series for title, series in found.items() if not title.startswith(":monitor")}
        assert {title: set(series) for title, series in ours.items()} == {t: set(s) for t, s in sent.items()}
    for title, series in sent.items():
        for name, values in series.items():
            assert read["scalars"][title][name]["x"] == list(range(len(values)))
            assert read["scalars"][title][name]["y"] == pytest.approx(values, rel=1e-6)  # float32, as ClearML's
            assert read["all"][title][name]["y"] == values
            last = read["last"][title][name]
            assert (last["last"], last["min"], last["max"]) == (values[-1], min(values), max(values))
    assert read["last_iteration"] == 149


def test_single_values(played: dict[str, Any]) -> None:
    assert played["read"]["single"] == {"accuracy": 0.9375}
    assert played["read"]["one"] == 0.9375


def test_plots(played: dict[str, Any]) -> None:
    found = {(one["metric"], one["variant"]): one for one in played["read"]["plots"]}
    assert set(found) == {("weights", "layer 1"), ("gradient", "layer 1"), ("confusion", "val"), ("scatter", "pairs")}
    data = {name: json.loads(one["plot_str"])["data"][0] for name, one in found.items()}
    assert data["weights", "layer 1"]["y"] == [1.0, 2.0, 3.0]
    assert data["gradient", "layer 1"]["y"] == [0.25, 0.5]
    assert data["confusion", "val"]["z"] == [[5, 1], [2, 7]]
    assert {name: one["iter"] for name, one in found.items()}["scatter", "pairs"] == 5


def test_images_and_artifacts_come_from_the_file_server(played: dict[str, Any]) -> None:
    read = played["read"]
    assert sorted(one["iter"] for one in read["samples"]) == [0, 1, 2]
    assert all(one["bytes"].startswith("ffd8ff") for one in read["samples"])  # JPEG
    assert read["numbers"] == {"best": 0.9375, "at": [1, 2]}
    assert read["table"] == "a,b\n1,2\n"
    assert read["unknown"] == 401


def test_console(played: dict[str, Any]) -> None:
    console = "".join(played["read"]["console"])
    for line in ("a line of the logger's", "a printed line", "a warning of logging's"):
        assert line in console


def test_the_task_is_found_again(played: dict[str, Any]) -> None:
    assert played["read"]["status"] == "completed"
    assert played["read"]["found"] == [played["sent"]["task"]]
    assert played["read"]["parameters"]["General/epochs"] == "3"


@pytest.mark.parametrize(
    ("name", "of", "outcome"),
    [
        ("train", "spans", "succeeded"),
        ("fail", "spans", "failed"),
        ("wait", "spans", "cancelled"),
        ("tee", "spans", "failed"),
        ("tee", "beyond", "failed"),
    ],
)
def test_a_task_is_one_trace_with_its_phases(played: dict[str, Any], name: str, of: str, outcome: str) -> None:
    span = span_of(played, name, of)
    assert span["attributes"]["otel_events.outcome"] == outcome
    assert span["attributes"]["otel_events.run.id"] == played["ids"][name]
    phases = [event for event in span["events"] if event.startswith("otel_events.run.")]
    assert phases[0] == "otel_events.run.pending"
    assert "otel_events.run.running" in phases
    assert phases[-1] == f"otel_events.run.{outcome}"
    assert span["seconds"] > 0


def test_why_a_task_failed(played: dict[str, Any]) -> None:
    for of in ("spans", "beyond"):
        (exception,) = span_of(played, "tee", of)["exceptions"]
        assert exception["exception.message"] == "Exception the data is bad"
    assert played["codes"]["fail"] != 0


def test_the_tee_makes_the_span_that_the_server_makes(played: dict[str, Any]) -> None:
    ours, theirs = (span_of(played, "tee", of) for of in ("spans", "beyond"))
    assert (ours["trace"], ours["span"], ours["name"]) == (theirs["trace"], theirs["span"], theirs["name"])
    assert ours["end"] == theirs["end"]  # status_changed of the answer; of its creation each has its own clock


def test_the_metrics_of_runs_and_of_what_they_report(played: dict[str, Any]) -> None:
    lines = played["metrics"].splitlines()

    def value(name: str, *labels: str) -> float:
        found = [line for line in lines if line.startswith(name + "{") and all(one in line for one in labels)]
        assert len(found) == 1, (name, labels, found)
        return float(found[0].split(" # ")[0].rpartition(" ")[2])

    for name, outcome in (("train", "succeeded"), ("fail", "failed"), ("wait", "cancelled")):
        labels = (f'name="{name}"', f'outcome="{outcome}"', 'source="clearml"')
        assert value("otel_events_runs_total", *labels) == (2 if name == "fail" else 1)
    assert value("otel_events_stat_loss_train", 'name="train"') == pytest.approx(1 / 150)


def test_console_lines_are_logs_of_the_trace(played: dict[str, Any]) -> None:
    wanted = trace_id("clearml", "", played["sent"]["task"]).hex()
    lines = [body for trace, body in played["logs"] if trace == wanted]
    assert any("a printed line" in line for line in lines)


def test_what_looks_like_a_secret_goes_nowhere(played: dict[str, Any]) -> None:
    assert played["read"]["parameters"]["General/api_token"] == TOKEN  # the API gives back what it was given
    for part in ("spans", "beyond", "logs", "metrics"):
        assert TOKEN not in json.dumps(played[part])
        assert SECRET not in json.dumps(played[part])


def test_an_offline_session_is_replayed(played: dict[str, Any]) -> None:
    offline = played["offline"]
    assert offline["code"] == 0, offline["said"]
    assert 'name="offline"' in offline["files"]["metrics.prom"]
    spans = offline["files"]["traces.jsonl"]
    assert trace_id("clearml", "", offline["task"]).hex() in spans
    assert "an offline line" in offline["files"]["logs.jsonl"]


if __name__ == "__main__":
    namespace.loopback_up()
    scene(Path(sys.argv[1]), Path(sys.argv[2]))
