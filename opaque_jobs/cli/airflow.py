"""`opaque-jobs airflow`: the embedded Airflow of this home: where it answers, who may log in, housekeeping by hand."""

from opaque_jobs.airflow.logins import read_logins
from opaque_jobs.airflow.reconcile import Housekeeping
from opaque_jobs.cli.command import Noun, common, load_settings
from opaque_jobs.cli.output import print_record, print_rows
from opaque_jobs.cli.session import services
from opaque_jobs.errors import ConfigurationError
from opaque_jobs.settings import Settings
from opaque_jobs.standalone.launcher import running_address

__all__ = ["app"]

app = Noun(help="The embedded Airflow of this home, started by 'opaque-jobs up'.")


def _running(settings: Settings) -> str:
    address = running_address(settings)
    if address is None:
        raise ConfigurationError("the Airflow of this home does not run", hint="start it with 'opaque-jobs up'")
    return address


@app.command("address")
def address() -> None:
    """Say where it answers."""
    print_record({"airflow": _running(load_settings())}, as_json=common().json)


@app.command("logins")
def logins() -> None:
    """Show the generated log-ins. They open Airflow's pages, nothing else: votes and results need the members' own keys."""
    rows = [{"name": name, "password": password} for name, password in sorted(read_logins(load_settings()).items())]
    print_rows(rows, ["name", "password"], as_json=common().json, empty="none yet: they are made by 'opaque-jobs up'")


@app.command("reconcile")
def reconcile() -> None:
    """Close the runs that nobody carries on and expire overdue reviews, now. 'opaque-jobs up' does this all the time."""
    with services() as opened:
        done = Housekeeping(services=opened, address=_running(opened.context.settings)).once()
    record = {"expired_jobs": list(done.expired), "closed_runs": {each.run_id: each.reason for each in done.closed}}
    record |= {"refreshed": [f"{dataset_id} version {version}" for dataset_id, version in done.refreshed]}
    print_record(record, as_json=common().json)
