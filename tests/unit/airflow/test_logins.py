from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from opaque_jobs.airflow.logins import ADMIN_LOGIN, HOUSEKEEPING_LOGIN, ensure_logins, password_matches, read_logins
from opaque_jobs.domain.ids import check_name
from opaque_jobs.errors import InvalidInputError
from opaque_jobs.settings import Settings


@pytest.fixture
def settings(tmp_path):
    return Settings.load({"OPAQUE_JOBS_HOME": str(tmp_path / "home")})


def test_logins_file_is_private(settings):
    ensure_logins(settings, ["alice"])
    assert (settings.airflow_dir / "logins.json").stat().st_mode & 0o777 == 0o600


def test_login_of_a_known_name_keeps_its_password(settings):
    first = ensure_logins(settings, ["alice"])
    assert ensure_logins(settings, ["alice", "bob"])["alice"] == first["alice"]


def test_logins_made_at_once_lose_none(settings):
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda number: ensure_logins(settings, [f"member-{number}"]), range(20)))
    assert len(read_logins(settings)) == 20


def test_password_of_another_or_of_nobody_does_not_match(settings):
    passwords = ensure_logins(settings, ["alice", "bob"])
    assert password_matches(settings, "alice", passwords["alice"])
    assert not password_matches(settings, "alice", passwords["bob"])
    assert not password_matches(settings, "carol", "")


@pytest.mark.parametrize("name", [ADMIN_LOGIN, HOUSEKEEPING_LOGIN])
def test_special_login_can_be_no_members_name(name):
    with pytest.raises(InvalidInputError):
        check_name(name, what="member")


def test_reading_logins_before_any_were_made_gives_none():
    assert read_logins(Settings.load({"OPAQUE_JOBS_HOME": str(Path("/nonexistent"))})) == {}
