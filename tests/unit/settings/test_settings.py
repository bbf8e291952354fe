"""Settings from the environment, and paths that cannot be led astray."""

from pathlib import Path

import pytest

from opaque_jobs.errors import ConfigurationError, InvalidInputError
from opaque_jobs.settings import Settings


def test_settings_without_environment_are_below_the_users_home():
    settings = Settings.load({})
    assert settings.home == Path.home() / ".opaque-jobs"
    assert settings.database_url == f"sqlite:///{settings.home}/opaque-jobs.db"
    assert settings.sandbox == "bubblewrap"
    assert settings.engine_cache


def test_settings_follow_the_environment(tmp_path):
    environ = {
        "OPAQUE_JOBS_HOME": str(tmp_path / "x"),
        "OPAQUE_JOBS_DATABASE_URL": "postgresql://db/opaque",
        "OPAQUE_JOBS_SANDBOX": "bubblewrap",
        "OPAQUE_JOBS_ENGINE_CACHE": "no",
    }
    expected = Settings(home=tmp_path / "x", database_url="postgresql://db/opaque", sandbox="bubblewrap", engine_cache=False)
    assert Settings.load(environ) == expected


def test_settings_empty_values_count_as_unset():
    assert Settings.load({"OPAQUE_JOBS_HOME": "", "OPAQUE_JOBS_DATABASE_URL": ""}) == Settings.load({})


@pytest.mark.parametrize(
    "environ",
    [
        {"OPAQUE_JOBS_HOME": "relative"},
        {"OPAQUE_JOBS_STORAGE": "relative"},
        {"OPAQUE_JOBS_ENGINE_CACHE": "perhaps"},
        {"OPAQUE_JOBS_SANDBOX": "none"},
    ],
)
def test_settings_that_cannot_be_meant_are_refused(environ):
    with pytest.raises(ConfigurationError) as caught:
        Settings.load(environ)
    assert caught.value.hint


def test_settings_prepare_makes_a_home_for_the_owner_alone(tmp_path):
    settings = Settings.load({"OPAQUE_JOBS_HOME": str(tmp_path / "a" / "b")})
    settings.prepare()
    settings.prepare()
    assert settings.home.stat().st_mode & 0o777 == 0o700


def test_settings_home_that_cannot_be_made_is_a_configuration_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError):
        Settings.load({"OPAQUE_JOBS_HOME": str(tmp_path / "file" / "home")}).prepare()


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "/etc", "a\0b", ".hidden", "a" * 200])
def test_settings_path_of_a_name_that_leads_elsewhere_is_refused(tmp_path, name):
    settings = Settings.load({"OPAQUE_JOBS_HOME": str(tmp_path)})
    for make in (settings.broker_dir, settings.result_dir, settings.test_dir, lambda bad: settings.dataset_dir(bad, 1)):
        with pytest.raises(InvalidInputError):
            make(name)


def test_settings_every_path_is_below_home(tmp_path):
    settings = Settings.load({"OPAQUE_JOBS_HOME": str(tmp_path)})
    paths = [
        settings.keys_dir, settings.broker_dir("north"), settings.runtime_dir, settings.dataset_dir("d-1", 3),
        settings.result_dir("r-1"), settings.test_dir("t-1"), settings.simulated_key_path,
        settings.airflow_dir, settings.logs_dir,
    ]  # fmt: skip
    assert len(set(paths)) == len(paths)
    assert all(path.is_relative_to(tmp_path) for path in paths)


def test_settings_storage_elsewhere_holds_data_and_results_and_nothing_else(tmp_path):
    home, storage = tmp_path / "home", tmp_path / "shared"
    settings = Settings.load({"OPAQUE_JOBS_HOME": str(home), "OPAQUE_JOBS_STORAGE": str(storage)})
    assert all(path.is_relative_to(storage) for path in (settings.datasets_dir, settings.results_dir, settings.tests_dir))
    assert all(path.is_relative_to(home) for path in (settings.keys_dir, settings.brokers_dir, settings.simulated_key_path))
