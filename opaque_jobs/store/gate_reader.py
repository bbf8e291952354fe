"""The gate's states for Airflow's triggerer: its own asynchronous connection, one query for all that wait."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import UTC, datetime

from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from opaque_jobs.errors import ConfigurationError
from opaque_jobs.store.gate import gate_query, words_of

__all__ = ["GateReader", "gate_reader"]

_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}


class GateReader:
    """Reads gate states; belongs to one event loop.

    Args:
        database_url: Address of the metadata store.

    Raises:
        ConfigurationError: The address cannot be used.
    """

    def __init__(self, database_url: str) -> None:
        try:
            url = make_url(database_url)
            driver = _DRIVERS[url.get_backend_name()]
            self._engine: AsyncEngine = create_async_engine(url.set(drivername=driver), pool_pre_ping=True)
        except (SQLAlchemyError, KeyError, ImportError, ValueError):
            raise ConfigurationError("the database address cannot be used", hint="check OPAQUE_JOBS_DATABASE_URL") from None

    async def __call__(self, ids: Collection[str]) -> Mapping[str, str]:
        """Give for each run id or revision id `waiting`, `open`, or the word for why it refuses.

        Raises:
            ConfigurationError: The database cannot be read now; asking again later may help.
        """
        wanted = list(ids)
        try:
            async with self._engine.connect() as connection:
                rows = (await connection.execute(gate_query(wanted))).mappings().all()
        except (SQLAlchemyError, OSError):
            raise ConfigurationError("the database cannot be read", hint="is it running and reachable?") from None
        return words_of(wanted, (dict(row) for row in rows), now=datetime.now(UTC))

    async def close(self) -> None:
        """Give back connections."""
        await self._engine.dispose()


def gate_reader(database_url: str) -> Callable[[Collection[str]], Awaitable[Mapping[str, str]]]:
    """Give a callable for the trigger's shared poller."""
    return GateReader(database_url)
