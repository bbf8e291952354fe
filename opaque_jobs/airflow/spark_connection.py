"""Where Spark runs, read from the Spark provider's connection as Airflow people configure it."""

import os
import re
from dataclasses import dataclass
from typing import Final

from airflow.providers.apache.spark.hooks.spark_submit import SparkSubmitHook
from airflow.sdk import Connection
from airflow.sdk.exceptions import AirflowNotFoundException

from opaque_jobs.errors import ConfigurationError

__all__ = ["SparkSettings", "master_of", "parse_spark_settings", "spark_settings"]

_UNITS: Final = {"m": 1 << 20, "g": 1 << 30}
_LOCAL: Final = re.compile(r"local(?:\[(\*|[1-9][0-9]{0,3})\])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class SparkSettings:
    """What a connection says about Spark.

    Args:
        master: Spark master, `local[N]` or `local[*]`.
        cores: Threads that it allows; with `local[*]` those of this machine.
        memory_bytes: Memory that it allows (extra `driver-memory`, such as `4g`); else that of this machine.
    """

    master: str
    cores: int
    memory_bytes: int


def master_of(connection: Connection) -> str:
    """Give the connection's Spark master by the provider's own rules."""
    host, kind = connection.host or "", connection.conn_type
    whole = kind == "spark" and host and ("://" in host or not connection.port)
    master = host if whole else f"{kind}://{host}"
    return f"{master}:{connection.port}" if connection.port else master


def parse_spark_settings(connection: Connection) -> SparkSettings:
    """Read a connection.

    Raises:
        ConfigurationError: It asks for what is not allowed: a cluster's executors would have to attest themselves first.
    """
    found = _LOCAL.fullmatch(master_of(connection))
    if found is None:
        raise ConfigurationError(
            "the Spark connection names a cluster, whose executors would have to attest before they get keys",
            hint="set the connection's host to local[*] or local[N]",
        )
    if (connection.extra_dejson.get("deploy-mode") or "client") != "client":
        raise ConfigurationError(
            "the Spark connection's deploy mode is not 'client'", hint="in the sandbox the driver is the whole engine"
        )
    threads = found.group(1)
    cores = os.cpu_count() or 1 if threads == "*" else int(threads or 1)
    return SparkSettings(master=found.group(0), cores=cores, memory_bytes=_memory(connection.extra_dejson.get("driver-memory")))


def _memory(text: str | None) -> int:
    if not text:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    found = re.fullmatch(r"([1-9][0-9]{0,6})([mg])b?", text.strip().lower())
    if found is None:
        raise ConfigurationError("the Spark connection's driver-memory is not valid", hint="write it as 4g or 2048m")
    return int(found.group(1)) * _UNITS[found.group(2)]


def spark_settings(conn_id: str) -> SparkSettings:
    """Read a connection by id.

    Raises:
        ConfigurationError: There is none, or it asks for what is not allowed.
    """
    try:
        connection = SparkSubmitHook.get_connection(conn_id)
    except AirflowNotFoundException:
        raise ConfigurationError(
            "the Spark connection of this job does not exist", hint="add a connection of type Spark with host local[*]"
        ) from None
    return parse_spark_settings(connection)
