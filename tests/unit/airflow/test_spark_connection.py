import os

import pytest
from airflow.providers.apache.spark.hooks.spark_submit import SparkSubmitHook
from airflow.sdk import Connection

from opaque_jobs.airflow.spark_connection import master_of, parse_spark_settings
from opaque_jobs.errors import ConfigurationError


def spark(**over):
    return Connection(conn_id="spark_default", **({"conn_type": "spark", "host": "local[*]"} | over))


CONNECTIONS = [
    spark(),
    spark(host="local[2]"),
    spark(host="spark://master:7077"),
    spark(host="master", port=7077),
    spark(host="k8s://https://cluster"),
    spark(host="yarn"),
    spark(conn_type="yarn", host=None),
    spark(conn_type="local", host=None),
]


@pytest.mark.parametrize("connection", CONNECTIONS, ids=repr)
def test_master_of_agrees_with_the_providers_own_hook(connection):
    class Hook(SparkSubmitHook):
        def __init__(self):
            self._conn_id, self._yarn_queue, self._deploy_mode, self.spark_binary = "x", None, None, None
            self._principal = self._keytab = None
            self._conf = {}

        def get_connection(self, _conn_id):
            return connection

    assert Hook()._resolve_connection()["master"] == master_of(connection)


@pytest.mark.parametrize(("host", "cores"), [("local", 1), ("local[1]", 1), ("local[7]", 7), ("local[*]", os.cpu_count())])
def test_spark_settings_of_a_local_master_name_its_threads(host, cores):
    assert parse_spark_settings(spark(host=host)).cores == cores


@pytest.mark.parametrize(
    "host", ["yarn", "spark://m:7077", "k8s://https://c", "local[0]", "local[*,3]", "local-cluster[2,1,1024]", "", "local[2] "]
)
def test_spark_settings_of_a_cluster_are_refused(host):
    with pytest.raises(ConfigurationError, match="attest"):
        parse_spark_settings(spark(host=host))


def test_spark_settings_in_cluster_mode_are_refused():
    with pytest.raises(ConfigurationError, match="deploy mode"):
        parse_spark_settings(spark(extra='{"deploy-mode": "cluster"}'))


@pytest.mark.parametrize(("text", "size"), [("4g", 4 << 30), ("2048m", 2 << 30), ("1GB", 1 << 30)])
def test_spark_settings_read_the_drivers_memory(text, size):
    assert parse_spark_settings(spark(extra=f'{{"driver-memory": "{text}"}}')).memory_bytes == size


def test_spark_settings_with_a_memory_that_is_none_are_refused():
    with pytest.raises(ConfigurationError, match="driver-memory"):
        parse_spark_settings(spark(extra='{"driver-memory": "lots"}'))
