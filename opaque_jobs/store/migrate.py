"""Bring a database's tables to the version that this program needs."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy.exc import SQLAlchemyError

from opaque_jobs.errors import ConfigurationError
from opaque_jobs.store.session import SCHEMA_VERSION, open_store

__all__ = ["alembic_config", "migrate"]


def alembic_config() -> Config:
    """Give Alembic's configuration for the packaged migrations; the connection goes into `attributes["connection"]`."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def migrate(database_url: str) -> None:
    """Make or update the tables, in one transaction; a second caller waits and finds them done.

    Raises:
        ConfigurationError: The database cannot be reached, or is newer than this program.
    """
    store = open_store(database_url)
    try:
        if store.version() == SCHEMA_VERSION:
            return
        with store.write() as session:
            config = alembic_config()
            config.attributes["connection"] = session.connection()
            command.upgrade(config, SCHEMA_VERSION)
    except (SQLAlchemyError, CommandError):
        raise ConfigurationError(
            "the database's tables could not be updated", hint="is it newer than this program, or in use by another?"
        ) from None
    finally:
        store.close()
