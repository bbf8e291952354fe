import fcntl
import os
import socket

import pytest

from opaque_jobs.errors import ConfigurationError, ConflictError
from opaque_jobs.settings import Settings
from opaque_jobs.standalone.airflow_home import AirflowHome
from opaque_jobs.standalone.launcher import AirflowStack, running_address


@pytest.fixture
def home(tmp_path):
    return AirflowHome(settings=Settings.load({"OPAQUE_JOBS_HOME": str(tmp_path / "home")}))


def test_second_up_of_one_home_is_refused(home):
    home.root.mkdir(parents=True)
    with home.lock_path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ConflictError, match="already running"):
            AirflowStack(home=home, port=0).up()


def test_up_on_a_port_in_use_is_refused_and_frees_the_lock(home):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        stack = AirflowStack(home=home, port=taken.getsockname()[1])
        for _again in range(2):
            with pytest.raises(ConfigurationError, match="in use"):
                stack.up()


def test_running_address_of_a_home_that_does_not_run_is_none(home):
    assert running_address(home.settings) is None
    home.root.mkdir(parents=True)
    home.lock_path.touch()
    home.address_path.write_text("http://127.0.0.1:1")
    assert running_address(home.settings) is None


def test_home_prepared_twice_keeps_its_secrets(home):
    home.prepare(port=1234)
    first = (home.root / "secrets.json").read_text()
    home.prepare(port=1235)
    assert (home.root / "secrets.json").read_text() == first
    assert "port = 1235" in home.config_path.read_text()


def test_files_with_secrets_are_private(home):
    home.prepare(port=1234)
    for path in (home.config_path, home.root / "secrets.json"):
        assert path.stat().st_mode & 0o777 == 0o600


def test_environment_of_airflow_holds_no_passphrase(home, monkeypatch):
    monkeypatch.setenv("OPAQUE_JOBS_PASSPHRASE", "canary")
    monkeypatch.setenv("AIRFLOW__API__HOST", "0.0.0.0")  # noqa: S104
    assert "canary" not in home.environment().values()
    assert not [name for name in home.environment() if name.startswith("AIRFLOW__")]
    assert os.environ["OPAQUE_JOBS_PASSPHRASE"] == "canary"


def test_environment_of_airflow_passes_this_products_own_options_on(home, monkeypatch):
    monkeypatch.setenv("AIRFLOW__OPAQUE_JOBS__DAG_TEMPLATE", "quality")
    assert home.environment()["AIRFLOW__OPAQUE_JOBS__DAG_TEMPLATE"] == "quality"


OTHER_SETTINGS = {
    "DATABASE_URL": "postgresql://x/y",
    "ENGINE_CACHE": "no",
    "STORAGE": "/shared/storage",
    "ATTESTER": "tsm",
}


@pytest.mark.parametrize("over", [{}, *({f"OPAQUE_JOBS_{name}": value} for name, value in OTHER_SETTINGS.items())])
def test_airflows_processes_read_the_settings_of_the_launcher(tmp_path, over):
    settings = Settings.load({"OPAQUE_JOBS_HOME": str(tmp_path)} | over)
    assert Settings.load(AirflowHome(settings=settings).environment()) == settings


def test_configuration_listens_on_loopback_only(home):
    home.prepare(port=1234)
    text = home.config_path.read_text()
    assert "host = 127.0.0.1" in text
    assert "0.0.0.0" not in text  # noqa: S104
