"""Makes the archive of loaded classes with which the engine starts in about half the time (JEP 514).

Run once, inside the sandbox, when the tree is built: `python -m opaque_jobs.enclave.agent.warmup`. It plays a small job on
data of its own and leaves `/out/engine.aot`, which the build puts beside the jar and measures. No job's data comes near it.
"""

import os
import shutil
import sys
from datetime import date
from decimal import Decimal
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from opaque_jobs.enclave.agent.author import RESULT_VIEW, AuthorProcess, gate_socket
from opaque_jobs.enclave.agent.engine import SESSION_ID, USER_ID, Engine, EngineSettings
from opaque_jobs.enclave.agent.gate import Gate
from opaque_jobs.enclave.agent.gate_rules import Rules
from opaque_jobs.enclave.agent.nesting import write_udf_launcher
from opaque_jobs.enclave.agent.places import ENGINE, OUT, SCRATCH
from opaque_jobs.enclave.agent.run_log import RunLog
from opaque_jobs.enclave.agent.sql_job import run_sql
from opaque_jobs.enclave.agent.sql_rules import Names

__all__ = ["ARCHIVE", "make_archive"]

ARCHIVE: Final = OUT / "engine.aot"
_MADE: Final = ENGINE / "engine.aot"
_HEAP_BYTES: Final = 1 << 30
_SQL: Final = """
create temporary view grouped as
  select k, count(*) n, sum(x) s, avg(x) a, max(d) d, approx_count_distinct(t) u from first where x > 1 group by k;
with ranked as (select *, row_number() over (partition by k order by n desc) r from grouped)
select f.k, upper(f.t) t, case when f.x > 2 then 'a' else 'b' end c, r.n, r.s, date_add(f.d, 1) d, f.m * 2 m
from first f join second s on f.k = s.k left join ranked r on r.k = f.k
where f.t like '%a%' and f.d >= date'2020-01-01' and exists (select 1 from second o where o.k = f.k)
order by f.k limit 10
"""
_PYTHON: Final = """
from pyspark.sql import functions as F
def main(spark, inputs, params):
    twice = F.udf(lambda x: x * 2.0, 'double')
    rows = inputs['first'].groupBy('k').agg(F.count('*').alias('n'), F.avg('x').alias('a')).collect()
    made = spark.createDataFrame([(row['k'], row['n']) for row in rows], 'k long, n long')
    return inputs['first'].join(made, 'k').withColumn('y', twice('x')).where('y > 1').orderBy('k')
"""


def make_archive() -> None:
    """Play the small job, and leave the archive."""
    write_udf_launcher()
    log = RunLog(verbose=True)
    settings = EngineSettings(heap_bytes=_HEAP_BYTES, cores=2, conf={})
    engine = Engine.start(settings, output=log.pipe(), more_flags=(f"-XX:AOTCacheOutput={_MADE}",))
    day, money = date(2024, 1, 2), Decimal("1.50")
    table = pa.table({"k": [1, 2, 3], "x": [1.0, 2.0, 3.0], "t": ["a", "ba", None], "d": [day] * 3, "m": [money] * 3})
    engine.allow_plaintext(SCRATCH / "warmup")
    engine.set_result(run_id="warmup", key=os.urandom(32), max_bytes=1 << 20)
    engine.freeze_keys()
    for alias in ("first", "second"):
        path = SCRATCH / "warmup" / alias / "part-00000.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(table, path)
        schema = engine.schema(path)
        columns = [(name, name, None) for name in table.column_names]
        engine.define(alias, path.parent, schema=schema, columns=columns, physical={})
    names = Names(("first", "second"))
    frame = run_sql(engine, _SQL, names=names, literals={})
    engine.write(frame)
    rules = Rules(names, engine.outline, session_id=SESSION_ID, user_id=USER_ID)
    gate = Gate(socket_path=gate_socket(), engine_port=engine.port, token=engine.token, rules=rules, show_details=True)
    report = AuthorProcess(_PYTHON, datasets=("first", "second"), params={}, datetimes=(), log=log).report()
    if report.error:
        raise RuntimeError(report.error)
    engine.write(engine.view(RESULT_VIEW))
    gate.close()
    engine.exit()
    if not _MADE.exists():
        raise RuntimeError(log.content().decode(errors="replace"))
    shutil.copyfile(_MADE, ARCHIVE)


if __name__ == "__main__":
    try:
        make_archive()
    except BaseException as failure:  # noqa: BLE001 - said, then the interpreter ends without py4j's farewell
        sys.stderr.write(f"{failure}\n")
        os._exit(1)
    os._exit(0)
