"""TPC-H between two organisations: one encrypts orders and lineitem, the other the rest; each query is an approved job."""

import subprocess
import sys
from pathlib import Path

from opaque_jobs.domain.job import Code, Language
from tests.support.sealed_files import Answer, SealedFiles
from tests.tpch.answers import columns_of
from tests.tpch.queries import OWNERS, TABLES, Query


def generate(folder: Path, *, scale_factor: float) -> Path:
    """Generate the eight tables as plain Parquet."""
    folder.mkdir(parents=True, exist_ok=True)
    program = Path(sys.executable).parent / "tpchgen-cli"
    command = [str(program), "parquet", "-q", "-s", str(scale_factor), "-o", str(folder)]
    subprocess.run(command, check=True, capture_output=True, timeout=600)
    return folder


def encrypt_tables(world: SealedFiles, data: Path) -> None:
    """Encrypt the tables, each by its owner."""
    owners = {"a": world.world.hospital, "b": world.world.laboratory}
    world.add({table: (owners[OWNERS[table]], data / f"{table}.parquet") for table in TABLES})


def run_query(world: SealedFiles, query: Query, *, scale_factor: float) -> Answer:
    """Run a query as an approved job that may read, of its tables, only the columns that it names."""
    columns = {table: columns_of(query, world.columns(table)) for table in query.tables}
    return world.run(Code(language=Language.SQL, text=query.sql(scale_factor=scale_factor)), columns)
