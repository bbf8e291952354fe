"""A small agent that does what the run's id says, in the real sandbox, in the real agent's place."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from opaque_jobs.enclave.sandbox import BubblewrapSandbox, Limits, Mount
from opaque_jobs.enclave.session import SessionRequest, run_session
from opaque_jobs.protocol.enclave import BrokerResponse, Mode, Start

FAKE_AGENT = Path(__file__).with_name("fake_agent.py")


class FakeAgentSandbox:
    """Bubblewrap, with another agent mounted over the measured one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running = None

    def start(self, spec):
        mount = Mount(source=self.folder, target="/opt/agent")
        self.running = BubblewrapSandbox().start(replace(spec, mounts=(*spec.mounts, mount)))
        return self.running


class Hardware:
    """Signs nothing; shows what it was asked."""

    def __init__(self) -> None:
        self.asked = []

    def evidence(self, *, measurement: str, report_data: bytes, init_data: bytes) -> bytes:
        self.asked.append((measurement, report_data, init_data))
        return b"evidence over " + report_data


class Session:
    """One session with everything at hand that a test wants to look at."""

    def __init__(self, runtime, folder: Path, agent_folder: Path) -> None:
        self.runtime = runtime
        self.folder = folder
        self.sandbox = FakeAgentSandbox(agent_folder)
        self.hardware = Hardware()
        self.relayed = []
        self.words = []
        self.keep_open = lambda: True
        self.out = folder / "out"
        self.out.mkdir()

    def part(self, content: bytes) -> Path:
        path = self.folder / "part-00000.parquet"
        path.write_bytes(content)
        return path

    def relay(self, request):
        self.relayed.append(request)
        return BrokerResponse(request_id=request.request_id, status=200, cookie="c", body="answer")

    def request(self, scenario: str, **over) -> SessionRequest:
        start = Start(
            mode=Mode.REAL,
            run_id=scenario,
            job_spec="",
            bundle="",
            manifests={},
            inputs={},
            heap_bytes=1 << 28,
            cores=1,
            sent_at="now",
            tee="",
        )
        limits = {"memory_bytes": 512 << 20, "pids": 100, "timeout_s": 20.0, "scratch_bytes": 1 << 20} | over.pop("limits", {})
        values = {"start": start, "parts": {}, "out_dir": self.out, "limits": Limits(**limits), "runtime": self.runtime}
        return SessionRequest(**(values | over))

    def run(self, scenario: str, **over):
        return run_session(
            self.request(scenario, **over),
            relay=self.relay,
            attester=self.hardware,
            keep_open=self.keep_open,
            on_status=self.words.append,
            sandbox=self.sandbox,
        )


@pytest.fixture(scope="session")
def fake_agent_folder(enclave_runtime, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("agent") / "agent"
    shutil.copytree(enclave_runtime.root / "opt" / "agent", folder)
    agent = folder / "opaque_jobs" / "enclave" / "agent"
    shutil.rmtree(agent, ignore_errors=True)
    agent.mkdir()
    (agent / "__init__.py").touch()
    shutil.copyfile(FAKE_AGENT, agent / "__main__.py")
    return folder


@pytest.fixture
def session(enclave_runtime, fake_agent_folder, tmp_path) -> Session:
    return Session(enclave_runtime, tmp_path, fake_agent_folder)
