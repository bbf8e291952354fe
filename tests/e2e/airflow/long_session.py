"""A DAG of the tests: the real operator and sandbox, with a program inside that does nothing for a long time.

The job is named by the DAG run's name, `<job id>.<number>`.
"""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from airflow.sdk import DAG

from opaque_jobs.airflow.access import services, use_services
from opaque_jobs.airflow.ids import RUN_TASK
from opaque_jobs.airflow.operator import EnclaveSparkOperator
from opaque_jobs.enclave.runtime import Runtime
from opaque_jobs.enclave.sandbox import BubblewrapSandbox
from opaque_jobs.enclave.session import run_session
from opaque_jobs.runner.execution import execute
from opaque_jobs.services import open_services
from opaque_jobs.settings import Settings

STUBBORN = """
import signal, socket, time
from opaque_jobs.protocol.enclave import CONTROL_FD, Channel, Status
signal.signal(signal.SIGTERM, signal.SIG_IGN)
channel = Channel(socket.socket(fileno=CONTROL_FD))
channel.receive()
channel.send(Status(word="computing"))
time.sleep(600)  # stubborn-session RUN_ID
"""


class Stubborn:
    """Bubblewrap around a program that heeds neither cancel nor the end of its channel."""

    def __init__(self, run_id):
        self.run_id = run_id

    def start(self, spec):
        code = STUBBORN.replace("RUN_ID", self.run_id)
        return BubblewrapSandbox().start(replace(spec, argv=(spec.argv[0], "-c", code)))


class LongSessionOperator(EnclaveSparkOperator):
    """The operator with the stubborn program in its sandbox."""

    def execute(self, context):
        built = json.loads(Path(__file__).with_name("runtime.json").read_text())
        runtime = Runtime(root=Path(built["root"]), measurement=built["measurement"])
        use_services(open_services(Settings.load(), runtime=lambda: runtime))
        self.job_id = context["dag_run"].run_id.partition(".")[0]
        self.job_digest = services().deployments.dag_facts(self.job_id, 1).digest
        return super().execute(context)

    def carry_out(self, run_id, tell):
        def session(request, **content):
            return run_session(request, sandbox=Stubborn(run_id), **content)

        return execute(
            services(),
            run_id,
            cores=1,
            memory_bytes=1 << 30,
            keep_open=lambda: self._go_on,
            on_status=tell,
            session=session,
        )


with DAG("long-session", start_date=datetime(2026, 1, 1, tzinfo=UTC), schedule=None):
    LongSessionOperator(task_id=RUN_TASK, job_id="job", revision=1, job_digest="-")
