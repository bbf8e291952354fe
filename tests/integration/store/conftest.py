import sys
import tempfile
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

sys.path.insert(0, str(Path(__file__).parents[2] / "support"))

from postgresql import running_postgresql, why_not

from opaque_jobs.store.migrate import migrate
from opaque_jobs.store.session import open_store


@pytest.fixture(scope="session")
def postgresql_address():
    reason = why_not()
    if reason:
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="opaque-jobs-pg-") as folder, running_postgresql(Path(folder)) as address:
        yield address


@pytest.fixture
def postgresql_database(postgresql_address, request):
    """An empty database of this test's own."""
    name = f"t{abs(hash(request.node.nodeid))}"
    engine = create_engine(
        postgresql_address.replace("postgresql://", "postgresql+psycopg://") + "postgres", isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield postgresql_address + name
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path):
    """The same test on both databases."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    return request.getfixturevalue("postgresql_database")


@pytest.fixture
def store(database_url):
    migrate(database_url)
    opened = open_store(database_url)
    yield opened
    opened.close()
