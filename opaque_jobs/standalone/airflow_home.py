"""What the embedded Airflow finds in its home: configuration and secrets, each readable by its owner only.

Airflow is not imported here, so that the command line can use it at no cost. Secrets are made once and kept, since sessions
and encrypted connections depend on them; the configuration is written anew at each start, so that it cannot drift.
"""

import base64
import configparser
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import opaque_jobs
from opaque_jobs.airflow.files import write_private
from opaque_jobs.errors import ConfigurationError
from opaque_jobs.settings import Settings

__all__ = ["BUNDLE_NAME", "AirflowHome"]

BUNDLE_NAME: Final = "opaque-jobs"
_FOLDER_BUNDLE: Final = "airflow.dag_processing.bundles.local.LocalDagBundle"
_OWN_OPTIONS: Final = "AIRFLOW__OPAQUE_JOBS__"
"""Options of this product, such as `dag_template`: whoever starts Airflow may set them. The others are ours to set, see below."""
_KEPT_ENVIRONMENT: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "JAVA_HOME", "USER", "LOGNAME")


@dataclass(frozen=True, slots=True, kw_only=True)
class AirflowHome:
    """Files of one embedded Airflow.

    Args:
        settings: The installation.
        database_url: SQLAlchemy address of Airflow's own metadata database; None takes `OPAQUE_JOBS_AIRFLOW_DATABASE_URL`, and
            without it SQLite in the home.
        parallelism: Tasks that may run at once on this machine.
        dag_folder: A folder of a platform team's own DAGs, loaded beside the jobs'; None for none.
    """

    settings: Settings
    database_url: str | None = None
    parallelism: int = 4
    dag_folder: Path | None = None

    @property
    def root(self) -> Path:
        """AIRFLOW_HOME."""
        return self.settings.airflow_dir

    @property
    def sqlite_path(self) -> Path | None:
        """File of the metadata database; None if it is elsewhere."""
        return None if self._given_database_url else self.root / "airflow.db"

    @property
    def _given_database_url(self) -> str | None:
        return self.database_url or os.environ.get("OPAQUE_JOBS_AIRFLOW_DATABASE_URL")

    @property
    def config_path(self) -> Path:
        """The configuration file."""
        return self.root / "airflow.cfg"

    @property
    def lock_path(self) -> Path:
        """Held by the launcher while Airflow runs."""
        return self.root / "lock"

    @property
    def address_path(self) -> Path:
        """Where the running Airflow answers."""
        return self.root / "address"

    def log_path(self, component: str) -> Path:
        """Give the log file of one of Airflow's processes."""
        return self.settings.logs_dir / f"airflow-{component}.log"

    def prepare(self, *, port: int) -> None:
        """Make the folders, and write secrets (if there are none yet) and configuration.

        Raises:
            ConfigurationError: The home cannot be written.
        """
        try:
            self.settings.prepare()
            for folder in (self.settings.logs_dir, *(self.root / each for each in ("dags", "plugins", "bundles"))):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(self.config_path, _ini(self._options(port=port, keys=self._secrets())))
        except OSError:
            raise ConfigurationError(
                "Airflow's home cannot be written", hint="is the disk full, or OPAQUE_JOBS_HOME not yours?"
            ) from None

    def environment(self) -> dict[str, str]:
        """Give the whole environment of Airflow's processes: nothing else is passed on, least of all a passphrase."""
        kept = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
        kept |= {name: value for name, value in os.environ.items() if name.startswith(_OWN_OPTIONS)}
        return (
            kept
            | self.settings.environment()
            | {
                "AIRFLOW_HOME": str(self.root),
                "AIRFLOW_CONFIG": str(self.config_path),
                "PYTHONPATH": str(Path(opaque_jobs.__file__).parent.parent),
                "PYTHONUNBUFFERED": "1",
                "PYTHONWARNINGS": "ignore",
                "NO_PROXY": "127.0.0.1,localhost",
            }
        )

    def _secrets(self) -> dict[str, str]:
        path = self.root / "secrets.json"
        if not path.exists():
            fresh = {name: secrets.token_hex(32) for name in ("secret_key", "jwt_secret")}
            fresh["fernet_key"] = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
            write_private(path, json.dumps(fresh))
        return dict(json.loads(path.read_text()))

    def _options(self, *, port: int, keys: dict[str, str]) -> dict[str, dict[str, Any]]:
        address = f"http://127.0.0.1:{port}"
        bundles: list[dict[str, Any]] = [
            {"name": BUNDLE_NAME, "classpath": "opaque_jobs.airflow.bundle.OpaqueJobsBundle", "kwargs": {}}
        ]
        if self.dag_folder is not None:
            folder = {"path": str(self.dag_folder), "refresh_interval": 30}
            bundles.append({"name": "own-dags", "classpath": _FOLDER_BUNDLE, "kwargs": folder})
        return {
            "core": {
                "executor": "LocalExecutor",
                "parallelism": self.parallelism,
                "auth_manager": "opaque_jobs.airflow.auth.WorkspaceAuthManager",
                "simple_auth_manager_all_admins": False,
                "dags_folder": self.root / "dags",
                "plugins_folder": self.root / "plugins",
                "load_examples": False,
                "dags_are_paused_at_creation": False,
                # Otherwise a re-approval within 30 s would run under the old version's schema.
                "min_serialized_dag_update_interval": 0,
                "execution_api_server_url": f"{address}/execution/",
                "hostname_callable": "socket.gethostname",
                "dagbag_import_error_tracebacks": False,
                "fernet_key": keys["fernet_key"],
            },
            "database": {"sql_alchemy_conn": self._given_database_url or f"sqlite:///{self.sqlite_path}"},
            "api": {
                "host": "127.0.0.1",
                "port": port,
                "base_url": address,
                "workers": 1,
                "secret_key": keys["secret_key"],
                "expose_config": False,
                "expose_stacktrace": False,
            },
            "api_auth": {"jwt_secret": keys["jwt_secret"]},
            "logging": {
                "base_log_folder": self.root / "task-logs",
                "dag_processor_child_process_log_directory": self.root / "parse-logs",
                "colored_console_log": False,
                "file_task_handler_new_folder_permissions": "0o700",
                "file_task_handler_new_file_permissions": "0o600",
            },
            "scheduler": {
                "enable_health_check": False,
                # A task whose supervisor was killed is noticed after this long instead of five minutes.
                "task_instance_heartbeat_timeout": 60,
                "scheduler_idle_sleep_time": 0.5,
            },
            "dag_processor": {
                "dag_bundle_config_list": json.dumps(bundles),
                "dag_bundle_storage_path": self.root / "bundles",
                # The bundle itself says when it is due; see there.
                "refresh_interval": 300,
                "bundle_refresh_check_interval": 1,
                "min_file_process_interval": 86_400,
                "stale_bundle_cleanup_interval": 0,
                "parsing_processes": 1,
            },
            "usage_data_collection": {"enabled": False},
        }


def _ini(options: dict[str, dict[str, Any]]) -> str:
    """Write the options as Airflow's configuration file (a `%` is doubled)."""
    lines: list[str] = []
    for section, values in options.items():
        lines.append(f"[{section}]")
        lines += [f"{name} = {str(value).replace('%', '%%')}" for name, value in values.items()]
    text = "\n".join(lines) + "\n"
    configparser.ConfigParser().read_string(text)  # raises on what Airflow could not read
    return text
