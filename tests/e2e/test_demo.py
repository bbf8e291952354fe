"""The demo as a newcomer starts it: as a process of its own, with real Airflow, brokers, sandboxes and data."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import pytest

from opaque_jobs.data.demo import write_demo_sources

pytestmark = [pytest.mark.airflow, pytest.mark.spark]

CLEANING_S = 90
STEPS = (
    "checking the enclave's runtime (built once for you; the demo's home takes it from there)",
    "two organisations and three members make their keys",
    "the key brokers start (Airflow starts in the background)",
    "the members found a workspace",
    "each owner encrypts real data (Wisconsin breast cancer, 569 patients)",
    "anna tests 'Share by tumour size' (SQL) on synthetic data in the sandbox",
    "lea tests 'Rule of thumb' (PySpark with a Python UDF) on synthetic data in the sandbox",
    "anna tests 'Logistic regression' (no-code) on synthetic data in the sandbox",
    "second approvals",
    "Airflow becomes ready",
    "anna starts 'Share by tumour size' in Airflow: it must wait at the gate",
    "third approvals",
    "'Share by tumour size' runs in the enclave",
    "'Rule of thumb' runs in the enclave",
    "'Logistic regression' runs in the enclave",
    "anna reruns 'Share by tumour size' with min_patients = 5, as approved",
)
"""All steps of the demo, each as it says that it begins; that the list is whole is checked on a whole demo."""


@dataclass
class Demo:
    """A demo that was started; everything it makes is below `place`."""

    process: subprocess.Popen[str]
    place: Path
    told: list[str] = field(default_factory=list)

    def wait_until_it_says(self, text: str, timeout_s: float = 400) -> None:
        deadline = time.monotonic() + timeout_s
        for line in self.process.stderr:
            self.told.append(line)
            if text in line:
                return
            assert time.monotonic() < deadline, self.said
        pytest.fail(f"ended before it said {text!r}:\n{self.said}")

    @property
    def said(self) -> str:
        return "".join(self.told)

    def finish(self, timeout_s: float) -> str:
        out, rest = self.process.communicate(timeout=timeout_s)
        self.told.append(rest)
        return out

    def begun(self) -> list[str]:
        """Give the steps that have begun, in order."""
        return [line.removesuffix(" ...") for line in self.said.splitlines() if line.endswith(" ...")]

    def processes(self) -> list[str]:
        """Give what still runs and has to do with this demo."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            with contextlib.suppress(OSError):
                about = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
                if str(self.place).encode() in about:
                    found.append((entry / "cmdline").read_text().replace("\0", " "))
        return found


def running_below(home: Path) -> list[tuple[int, str]]:
    """Give (pid, command line) of what works on a home."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and str(home).encode() in (entry / "environ").read_bytes():
                found.append((int(entry.name), (entry / "cmdline").read_text().replace("\0", " ")))
    return found


@pytest.fixture
def start_demo(enclave_runtime, runtime_settings) -> Iterator:
    started: list[Demo] = []

    def start(*arguments: str) -> Demo:
        place = Path(tempfile.mkdtemp(prefix="demo-"))
        env = {**os.environ, "TMPDIR": str(place), "OPAQUE_JOBS_HOME": str(runtime_settings.home), "NO_COLOR": "1"}
        process = subprocess.Popen(
            [sys.executable, "-m", "opaque_jobs.cli", "demo", *arguments],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        demo = Demo(process=process, place=place)
        started.append(demo)
        return demo

    yield start
    for demo in started:
        if demo.process.poll() is None:
            demo.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                demo.process.communicate(timeout=CLEANING_S)
            demo.process.kill()
        demo.process.communicate()
        shutil.rmtree(demo.place, ignore_errors=True)


def expected_rows(folder: Path, at_least: int) -> list[tuple[int, int, float]]:
    sources = write_demo_sources(folder)
    query = """
        SELECT CAST(floor(m."mean radius" / 4) * 4 AS INT) AS radius_from, count(*) AS patients,
               round(avg(CASE WHEN d.diagnosis = 'malignant' THEN 1.0 ELSE 0.0 END), 4) AS share
        FROM read_csv(?) m JOIN read_parquet(?) d USING (patient_id)
        GROUP BY 1 HAVING count(*) >= ? ORDER BY 1
    """
    return duckdb.execute(query, [str(sources.measurements), str(sources.diagnoses), at_least]).fetchall()


def answered(run: dict) -> list[tuple[int, int, float]]:
    return [(row["radius_from"], row["patients"], float(row["malignant_share"])) for row in run["rows"]]


def interrupted(demo: Demo) -> None:
    """Press Ctrl-C and check that the demo ends in order."""
    demo.process.send_signal(signal.SIGINT)
    demo.finish(timeout_s=CLEANING_S)
    assert demo.process.returncode == 130, demo.said
    assert "Traceback" not in demo.said
    assert demo.said.rstrip().endswith("interrupted")
    assert demo.processes() == []
    assert sorted(path.name for path in demo.place.iterdir()) == []


def test_demo_shows_the_whole_path_with_right_answers_and_leaves_nothing(start_demo, tmp_path):
    demo = start_demo("--json")
    document = json.loads(demo.finish(timeout_s=900) or "{}")
    assert demo.process.returncode == 0, demo.said
    assert "Traceback" not in demo.said
    assert "SIMULATED" in demo.said
    assert list(dict.fromkeys(demo.begun())) == list(STEPS)

    # A run that lacks one vote waits, and nothing behind the gate has begun.
    assert document["gate"]["wait_for_approvals"] == "deferred"
    assert document["gate"]["run_in_enclave"] in (None, "scheduled")

    # Every run succeeded with a receipt; nobody but the author's organisation could read.
    assert [run["job"] for run in document["runs"]] == [
        "Share by tumour size",
        "Rule of thumb",
        "Logistic regression",
        "Share by tumour size",
    ]
    for run in document["runs"]:
        assert (run["state"], run["receipt_holds"], run["trust_label"]) == ("succeeded", True, "simulated")
        assert len(run["refused"]) == 2

    # The answers are those of DuckDB on the plain files; the rerun had another input value and more rows.
    first, rule, model, again = document["runs"]
    assert answered(first) == expected_rows(tmp_path, 20)
    assert answered(again) == expected_rows(tmp_path, 5)
    assert len(again["rows"]) > len(first["rows"])
    assert sum(row["patients"] for row in rule["rows"]) == 540
    quality = {row["name"]: row["value"] for row in model["rows"] if row["kind"] == "measure"}
    assert quality["rows"] == 540
    assert quality["auc"] > 0.9

    # Nothing is left.
    assert demo.processes() == []
    assert list(demo.place.glob("opaque-jobs-demo-*")) == []


@pytest.mark.parametrize(
    ("moment", "wait_s"),
    [
        ("make their keys", 0.5),
        ("Airflow starts in the background", 1.0),
        ("tests 'Share by tumour size'", 4.0),
    ],
)
def test_demo_interrupted_in_the_middle_of_a_step_leaves_no_process_and_no_file(start_demo, moment, wait_s):
    demo = start_demo()
    demo.wait_until_it_says(moment)
    time.sleep(wait_s)
    interrupted(demo)


@pytest.mark.long
@pytest.mark.parametrize("step", STEPS)
def test_demo_interrupted_as_a_step_begins_leaves_no_process_and_no_file(start_demo, step):
    demo = start_demo()
    demo.wait_until_it_says(f"{step} ...\n")
    interrupted(demo)


def test_demo_in_a_home_that_is_not_empty_is_refused_and_touches_nothing(start_demo, tmp_path):
    (tmp_path / "mine").write_text("keep me")
    demo = start_demo("--home", str(tmp_path))
    demo.finish(timeout_s=120)
    assert demo.process.returncode == 7
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_demo_that_fails_in_a_home_that_was_named_deletes_nothing_of_it(start_demo, tmp_path):
    home = tmp_path / "home"
    demo = start_demo("--home", str(home), "--keep")
    demo.wait_until_it_says("the members found a workspace")
    made = {path.relative_to(home) for path in (home / "keys").rglob("*.json")}
    assert made
    brokers = [pid for pid, command in running_below(home) if "broker serve" in command]
    os.kill(brokers[0], signal.SIGKILL)
    demo.finish(timeout_s=300)
    assert demo.process.returncode not in (0, 130), demo.said
    assert f"what it made stays in {home}" in demo.said.replace("\n", " ")
    assert made <= {path.relative_to(home) for path in (home / "keys").rglob("*.json")}
