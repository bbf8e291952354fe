"""Generated log-ins of the embedded Airflow: one a member, one for the administrator, one for our own housekeeping.

A log-in is a name and a random password in a file that only its owner can read. It opens Airflow's pages and REST, nothing
else: approving and reading results need the member's own keys.
"""

import fcntl
import hmac
import json
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from opaque_jobs.airflow.files import write_private
from opaque_jobs.settings import Settings

__all__ = ["ADMIN_LOGIN", "HOUSEKEEPING_LOGIN", "ensure_logins", "password_matches", "read_logins"]

ADMIN_LOGIN: Final = "admin@airflow"
HOUSEKEEPING_LOGIN: Final = "housekeeping@airflow"
# Members' names cannot hold an `@`, so no member can take one of these.
_ALPHABET: Final = "abcdefghkmnpqrstuvwxyzABCDEFGHKMNPQRSTUVWXYZ23456789"
_LENGTH: Final = 24


def _path(settings: Settings) -> Path:
    return settings.airflow_dir / "logins.json"


def read_logins(settings: Settings) -> dict[str, str]:
    """Give log-in name -> password; empty if none were made."""
    try:
        return dict(json.loads(_path(settings).read_text()))
    except FileNotFoundError:
        return {}


def ensure_logins(settings: Settings, names: Iterable[str]) -> dict[str, str]:
    """Make a password for each name that has none, and give those of all these names.

    It takes effect at once, also while Airflow runs.
    """
    settings.airflow_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    wanted = list(names)
    with _exclusive(settings.airflow_dir / ".logins.lock"):
        known = read_logins(settings)
        missing = [name for name in wanted if name not in known]
        if missing:
            known |= {name: "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH)) for name in missing}
            write_private(_path(settings), json.dumps(known, sort_keys=True))
    return {name: known[name] for name in wanted}


def password_matches(settings: Settings, name: str, password: str) -> bool:
    """Compare in constant time; a name without a password matches nothing."""
    expected = read_logins(settings).get(name, "")
    return bool(expected) and hmac.compare_digest(expected.encode(), password.encode())


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
