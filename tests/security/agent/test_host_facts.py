"""What tells one host from another, or what else goes on there, reaches neither the author's process nor a function of theirs."""

import pyarrow as pa
import pytest

from opaque_jobs.domain.job import Language
from opaque_jobs.domain.output_policy import OutputPolicy

pytestmark = pytest.mark.spark

ROOMY = OutputPolicy(max_rows=10_000, max_columns=10, max_bytes=1 << 24, preview_rows=0)
LOOK = '''
from pyspark.sql import functions as F

def look(_=None):
    """Read every file below /proc and /sys, and ask the kernel; give name and content of what could be read."""
    import ctypes, itertools, os, socket
    found = {}
    asked = ("stat status maps mounts mountinfo mountstats cgroup cmdline environ io limits sched task/self/mountinfo").split()
    more = ("cmdline stat meminfo cpuinfo loadavg uptime version modules mounts partitions diskstats swaps interrupts softirqs "
            "vmstat zoneinfo buddyinfo slabinfo pressure/cpu pressure/memory net/dev net/route sys/kernel/random/boot_id "
            "sys/kernel/hostname sys/kernel/osrelease sys/kernel/ostype key-users keys timer_list config.gz kallsyms").split()
    names = [f"/proc/{name}" for name in more] + [f"/proc/{pid}/{name}" for pid in ("self", "1", "2", "3") for name in asked]
    for top in ("/proc", "/sys", "/run", "/var"):
        for folder, _, files in itertools.islice(os.walk(top), 3):
            names += [os.path.join(folder, each) for each in files if each not in ("kmsg", "kcore", "kpagecount", "kpageflags")]
    for name in names:
        try:
            file = os.open(name, os.O_RDONLY | os.O_NONBLOCK)
            found[name] = os.read(file, 4096).decode("utf-8", "replace")
            os.close(file)
        except OSError:
            pass
    if ctypes.CDLL(None, use_errno=True).sysinfo(ctypes.create_string_buffer(4096)) == 0:
        found["sysinfo"] = "answered"
    try:
        found["getloadavg"] = str(os.getloadavg())
    except OSError:
        pass
    found["host name"] = socket.gethostname()
    return sorted(f"{name}={content}" for name, content in found.items())

def main(spark, inputs, params):
    here = [("author", each) for each in look()]
    there = spark.range(1).select(F.explode(F.udf(look, "array<string>")("id")).alias("said")).collect()
    return spark.createDataFrame(here + [("function", row["said"]) for row in there], "who string, said string")
'''


@pytest.fixture(scope="module")
def said(runs):
    runs.add(runs.world.hospital, "people", pa.table({"id": [1]}))
    done = runs.run_test(runs.spec(LOOK, Language.PYTHON, output_policy=ROOMY), {"people": pa.table({"id": [1]})})
    assert done.failure is None, done.test_log
    return done.test_rows


@pytest.mark.parametrize("who", ["author", "function"])
def test_host_facts_asked_for_by_an_author_are_the_same_on_every_host(said, who):
    found = dict(row["said"].split("=", 1) for row in said if row["who"] == who)

    assert set(found) == {"/proc/cpuinfo", "/proc/meminfo", "host name"}
    assert found["host name"] != __import__("socket").gethostname()
    assert found["/proc/cpuinfo"] == "processor\t: 0\n\nprocessor\t: 1\n\n"
    assert found["/proc/meminfo"].startswith("MemTotal:        2097152 kB\n")
