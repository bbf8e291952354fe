"""`opaque-jobs status`: what of this home runs."""

from opaque_jobs.cli.command import Noun, common, load_settings
from opaque_jobs.cli.output import print_rows
from opaque_jobs.standalone.launcher import running_address
from opaque_jobs.standalone.supervision import read_status

__all__ = ["register"]


def register(app: Noun) -> None:
    """Add the command."""
    app.command("status")(status)


def status() -> None:
    """List the processes that `opaque-jobs up` keeps running, and how often each had to be started again."""
    settings = load_settings()
    rows = read_status(settings.status_path) if running_address(settings) else []
    print_rows(
        rows, ["component", "state", "restarts"], as_json=common().json, empty="nothing runs; start it with 'opaque-jobs up'"
    )
