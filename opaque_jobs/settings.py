"""Where an installation keeps its things, read once from `OPAQUE_JOBS_*` environment variables.

Every path of the product is made here and nowhere else, so that backup, doctor and the sandbox agree about them. Nothing
heavy is imported: Airflow's DAG processor loads this at every parse.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Self

from opaque_jobs.errors import ConfigurationError, InvalidInputError

__all__ = ["AttesterName", "Settings"]

_COMPONENT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_PREFIX: Final = "OPAQUE_JOBS_"
_SANDBOX: Final = "bubblewrap"


class AttesterName(StrEnum):
    """Where evidence comes from: a development key, Linux's configfs-tsm, or the guest components of Confidential Containers."""

    SIMULATED = "simulated"
    TSM = "tsm"
    COCO = "coco"


def _component(name: str) -> str:
    """Give back a name that is safe as one path component.

    Raises:
        InvalidInputError: It could leave its folder.
    """
    if not _COMPONENT.fullmatch(name):
        raise InvalidInputError("an id that is no plain name was used for a path", hint="use letters, digits, '.', '_', '-'")
    return name


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One installation.

    Args:
        home: Root of everything that the product writes.
        database_url: SQLAlchemy address of the product's own database (not Airflow's).
        sandbox: Name of the sandbox technology; `bubblewrap` is the only one yet.
        attester: Where evidence comes from.
        engine_cache: Let the runtime hold Java's start-up cache: engines start in a third of the time, but two machines that
            build the same sources then differ in this one file.
        storage: Where encrypted data, test data and sealed results are; None is in the home.
        coordinator: Address of the coordinator that members here work with; None for this machine itself.
    """

    home: Path
    database_url: str
    sandbox: str
    attester: AttesterName = AttesterName.SIMULATED
    engine_cache: bool = True
    storage: Path | None = None
    coordinator: str | None = None

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read the environment.

        Raises:
            ConfigurationError: A value cannot be used.
        """
        env = os.environ if environ is None else environ
        home = Path(env.get(_PREFIX + "HOME") or Path.home() / ".opaque-jobs").expanduser()
        storage = Path(env[_PREFIX + "STORAGE"]).expanduser() if env.get(_PREFIX + "STORAGE") else None
        for name, folder in (("HOME", home), ("STORAGE", storage)):
            if folder is not None and not folder.is_absolute():
                raise ConfigurationError(f"{_PREFIX}{name} is not an absolute path", hint="give the full path, starting with /")
        cache = env.get(_PREFIX + "ENGINE_CACHE") or "yes"
        if cache not in {"yes", "no"}:
            raise ConfigurationError("OPAQUE_JOBS_ENGINE_CACHE is neither yes nor no", hint="set it to yes or no, or unset it")
        sandbox = env.get(_PREFIX + "SANDBOX") or _SANDBOX
        if sandbox != _SANDBOX:
            raise ConfigurationError(
                "OPAQUE_JOBS_SANDBOX names a sandbox that is not known", hint=f"unset it; {_SANDBOX} is the only one yet"
            )
        attester = env.get(_PREFIX + "ATTESTER") or AttesterName.SIMULATED
        if attester not in set(AttesterName):
            raise ConfigurationError(
                "OPAQUE_JOBS_ATTESTER names an attester that is not known", hint="one of: " + ", ".join(AttesterName)
            )
        return cls(
            home=home,
            database_url=env.get(_PREFIX + "DATABASE_URL") or f"sqlite:///{home / 'opaque-jobs.db'}",
            sandbox=sandbox,
            attester=AttesterName(attester),
            engine_cache=cache == "yes",
            # One spelling of the place in the home, so that equal installations are equal.
            storage=None if storage == home / "storage" else storage,
            coordinator=env.get(_PREFIX + "COORDINATOR") or None,
        )

    def environment(self) -> dict[str, str]:
        """Give the variables from which another process reads these settings again."""
        return {
            _PREFIX + "HOME": str(self.home),
            _PREFIX + "DATABASE_URL": self.database_url,
            _PREFIX + "STORAGE": str(self.storage_dir),
            _PREFIX + "SANDBOX": self.sandbox,
            **({_PREFIX + "COORDINATOR": self.coordinator} if self.coordinator else {}),
            _PREFIX + "ATTESTER": self.attester.value,
            _PREFIX + "ENGINE_CACHE": "yes" if self.engine_cache else "no",
        }

    def prepare(self) -> None:
        """Make the home folder, readable by its owner only.

        Raises:
            ConfigurationError: It cannot be made.
        """
        try:
            self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError:
            raise ConfigurationError("OPAQUE_JOBS_HOME cannot be made", hint="choose a folder you may write to") from None

    @property
    def keys_dir(self) -> Path:
        """Passphrase-protected keys of members and organisations."""
        return self.home / "keys"

    @property
    def brokers_dir(self) -> Path:
        """One folder per organisation whose broker runs here."""
        return self.home / "brokers"

    def broker_dir(self, org_id: str) -> Path:
        """Give the folder of one organisation's broker."""
        return self.brokers_dir / _component(org_id)

    @property
    def runtime_dir(self) -> Path:
        """Built enclave trees."""
        return self.home / "runtime"

    @property
    def storage_dir(self) -> Path:
        """Ciphertext and test data; homes that work together share it."""
        return self.storage or self.home / "storage"

    @property
    def datasets_dir(self) -> Path:
        """Encrypted datasets."""
        return self.storage_dir / "datasets"

    def dataset_dir(self, dataset_id: str, version: int | str) -> Path:
        """Give the folder of one dataset version."""
        return self.datasets_dir / _component(dataset_id) / _component(str(version))

    @property
    def results_dir(self) -> Path:
        """Sealed results of real runs."""
        return self.storage_dir / "results"

    def result_dir(self, run_id: str) -> Path:
        """Give the folder of one run's sealed result."""
        return self.results_dir / _component(run_id)

    @property
    def tests_dir(self) -> Path:
        """Results of test runs on synthetic data."""
        return self.storage_dir / "tests"

    def test_dir(self, run_id: str) -> Path:
        """Give the folder of one test run."""
        return self.tests_dir / _component(run_id)

    @property
    def attestation_dir(self) -> Path:
        """The simulated hardware's key, and what goes with real hardware's evidence."""
        return self.home / "attestation"

    @property
    def collateral_dir(self) -> Path:
        """Makers' certificates, revocation lists and documents that go with evidence."""
        return self.attestation_dir / "collateral"

    @property
    def simulated_key_path(self) -> Path:
        """Development key that signs simulated evidence."""
        return self.attestation_dir / "simulated.pem"

    @property
    def log_key_path(self) -> Path:
        """Key that signs the checkpoints of the workspaces' logs."""
        return self.home / "log" / "key.pem"

    @property
    def airflow_dir(self) -> Path:
        """AIRFLOW_HOME of the embedded Airflow."""
        return self.home / "airflow"

    @property
    def status_path(self) -> Path:
        """What `opaque-jobs up` says of the processes that it keeps running."""
        return self.home / "up.status.json"

    @property
    def logs_dir(self) -> Path:
        """Logs of our own processes."""
        return self.home / "logs"
