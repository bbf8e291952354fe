"""`opaque-jobs up`: everything of one home, running: key brokers, Airflow, housekeeping. Ctrl-C leaves no process."""

import contextlib
import fcntl
import sys
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from opaque_jobs.airflow.logins import ADMIN_LOGIN, ensure_logins
from opaque_jobs.airflow.reconcile import Housekeeping
from opaque_jobs.broker.config import key_path
from opaque_jobs.cli.command import Noun, common, load_settings
from opaque_jobs.cli.output import escape, print_json, stderr, stdout, trust_text
from opaque_jobs.cli.passphrase import ask_for_key, read_passphrase
from opaque_jobs.cli.progress import step
from opaque_jobs.cli.signals import ended_in_order, no_more_interrupts
from opaque_jobs.client.telling import push
from opaque_jobs.crypto.key_files import open_broker_keys
from opaque_jobs.enclave.runtime import ensure_runtime
from opaque_jobs.errors import ConflictError, InvalidInputError, OpaqueJobsError, TrustError
from opaque_jobs.services import Services, open_services
from opaque_jobs.settings import AttesterName, Settings
from opaque_jobs.standalone.airflow_home import AirflowHome
from opaque_jobs.standalone.broker_process import BrokerProcess, local_brokers
from opaque_jobs.standalone.launcher import COMPONENTS, AirflowStack
from opaque_jobs.standalone.log_files import rotate_logs
from opaque_jobs.standalone.ports import check_port
from opaque_jobs.standalone.supervision import Component, Supervisor
from opaque_jobs.standalone.systemd_unit import systemd_unit

__all__ = ["register", "tell"]

_HOUSEKEEPING_S: Final = 10.0
_TICK_S: Final = 0.5

_Files = Annotated[
    list[str],
    typer.Option(
        "--passphrase-file",
        metavar="[ORG=]FILE",
        default_factory=list,
        show_default=False,
        help="Private file with a key broker's passphrase; without ORG for all. Otherwise each is asked for once.",
    ),
]


def register(app: Noun) -> None:
    """Add the command."""
    app.command("up")(up)


def up(
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of Airflow on 127.0.0.1; 0 takes a free one.")] = 8080,
    passphrase_file: _Files,
    print_systemd_unit: Annotated[
        bool, typer.Option("--print-systemd-unit", help="Print a systemd user unit that runs this command at boot, and end.")
    ] = False,
) -> None:
    """Start this home's key brokers and Airflow, and keep them running until Ctrl-C.

    A process that ends by itself is started again, later each time; 'opaque-jobs status' shows it. Every address is on this
    machine only.
    """
    settings = load_settings()
    if print_systemd_unit:
        stdout().print(_unit(settings, port, passphrase_file), markup=False, highlight=False, soft_wrap=True, end="")
        return
    settings.prepare()
    with _only_one(settings.home / "up.lock"), ended_in_order(), contextlib.ExitStack() as running:
        if port:
            check_port(port, "Airflow")
        opened = open_services(settings, migrate=True)
        running.callback(opened.close)
        running.callback(no_more_interrupts)
        started = _start_brokers(opened, running, _named_files(passphrase_file))
        brokers = list(started)
        with step("checking the enclave's runtime") as shown:  # takes minutes once, so after all that can be wrong
            ensure_runtime(settings, shown.say)
        stack = AirflowStack(home=AirflowHome(settings=settings), port=port)
        with step("starting Airflow") as shown:
            stack.progress = lambda component, word: shown.say(f"{component}: {word}")
            running.callback(stack.down)
            stack.up()
            running.callback(no_more_interrupts)
        logins = ensure_logins(settings, [ADMIN_LOGIN, *(entry.name for entry in opened.workspaces.members())])
        tell(stack.address, logins, brokers, settings.attester)
        with contextlib.suppress(KeyboardInterrupt):
            _watch(opened, stack, _supervisor(settings, stack, started))
    stderr().print("stopped")


@contextlib.contextmanager
def _only_one(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConflictError(
                "this home is up already", hint="use it, stop it where it was started, or give another --home"
            ) from None
        yield


def _named_files(texts: list[str]) -> dict[str, Path]:
    pairs = [text.rpartition("=") for text in texts]
    return {name: Path(file) for name, _, file in pairs}


def _unit(settings: Settings, port: int, passphrase_files: list[str]) -> str:
    if not passphrase_files:
        raise InvalidInputError(
            "at boot nobody can be asked for the key brokers' passphrases", hint="name private files with --passphrase-file"
        )
    pairs = [(name, Path(file).absolute()) for name, file in _named_files(passphrase_files).items()]
    files = [f"--passphrase-file={name}={file}" if name else f"--passphrase-file={file}" for name, file in pairs]
    command = [sys.executable, "-m", "opaque_jobs.cli", "up", f"--port={port}", *files]
    environment = settings.environment()
    if not environment["OPAQUE_JOBS_DATABASE_URL"].startswith("sqlite"):
        del environment["OPAQUE_JOBS_DATABASE_URL"]  # it may hold a password; the private file beside the home's gives it
    return systemd_unit(command, environment, private=settings.home / "up.env")


def _start_brokers(opened: Services, running: contextlib.ExitStack, files: Mapping[str, Path]) -> dict[BrokerProcess, str]:
    """Start the brokers; give each with its passphrase, with which it may have to be started again."""
    settings = opened.context.settings
    brokers = [BrokerProcess(settings, each) for each in local_brokers(opened)]
    unknown = set(files) - {""} - {broker.organisation.name for broker in brokers}
    if unknown:
        raise InvalidInputError(
            "--passphrase-file names an organisation that has no broker here", hint="see 'opaque-jobs org list'"
        )
    passphrases: dict[str, str] = {}
    for broker in brokers:
        check_port(broker.port, f"the key broker of '{broker.organisation.name}'")
    shared = read_passphrase(files[""]) if "" in files else None
    for broker in brokers:
        name, key_file = broker.organisation.name, key_path(settings.broker_dir(broker.organisation.id))
        if name in files:
            passphrases[name] = read_passphrase(files[name])
        else:
            passphrases[name] = shared or ask_for_key(key_file, f"the key broker of '{name}'")
        try:
            open_broker_keys(key_file, passphrases[name])
        except TrustError as error:
            raise TrustError(
                f"the key broker of '{name}': {error.message}", hint=f"give its own with --passphrase-file '{name}=FILE'"
            ) from None
    with step("starting the key brokers"):
        for broker in brokers:
            running.callback(broker.stop)
            broker.start(passphrases[broker.organisation.name])
        running.callback(no_more_interrupts)
        for broker in brokers:
            broker.wait_ready()
        _tell_brokers_what_they_missed(opened)
    return {broker: passphrases[broker.organisation.name] for broker in brokers}


def _tell_brokers_what_they_missed(opened: Services) -> None:
    """Send the member lists in force: a broker may have been down when the last signature came."""
    told: set[str] = set()
    for member in opened.workspaces.members():
        for workspace in opened.workspaces.list(actor=member.id):
            if workspace.roster is None or workspace.id in told:
                continue
            told.add(workspace.id)
            try:
                push(opened.workspaces.broker_push(workspace.id, actor=member.id), None)
            except OpaqueJobsError as error:
                stderr().print(f"[yellow]warning:[/] workspace '{escape(workspace.name)}': {escape(error.message)}")


def _hardware(attester: AttesterName) -> str:
    return f"evidence from {attester.value}: jobs that accept simulated enclaves alone do not run here"


def tell(address: str, logins: Mapping[str, str], brokers: list[BrokerProcess], attester: AttesterName) -> None:
    """Tell a person, or with --json a program, where everything answers and what vouches for the enclaves."""
    document: dict[str, Any] = {
        "airflow": address,
        "logins": dict(logins),
        "brokers": {broker.organisation.name: broker.address for broker in brokers},
        "attester": attester.value,
    }
    if common().json:
        print_json(document)
        return
    console = stderr()
    console.print(f"\n[bold green]up[/]  Airflow: [bold]{address}[/]")
    for name, password in logins.items():
        # Passwords go to a person's terminal, not into somebody's log.
        shown = password if sys.stderr.isatty() else "(see 'opaque-jobs airflow logins')"
        console.print(f"    log-in  {name}  {shown}", markup=False)
    for name, broker in document["brokers"].items():
        console.print(f"    broker  {name}  {broker}", markup=False)
    console.print(f"enclaves: {trust_text(attester.value) if attester is AttesterName.SIMULATED else _hardware(attester)}")
    console.print("One user id is one trust domain: what runs as this user, a DAG too, can stop and replace these brokers.")
    console.print("    Organisations that do not trust each other run 'opaque-jobs broker serve' under users of their own.")
    console.print("Ctrl-C ends it.\n")


def _supervisor(settings: Settings, stack: AirflowStack, brokers: Mapping[BrokerProcess, str]) -> Supervisor:
    airflow = [
        Component(
            name=f"airflow {name}",
            ended=lambda name=name: name in stack.ended(),  # type: ignore[misc]
            start=partial(stack.restart, name),
            log_path=stack.home.log_path(name),
        )
        for name in COMPONENTS
    ]
    own = [
        Component(
            name=f"broker of {broker.organisation.name}",
            ended=lambda broker=broker: broker.ended,  # type: ignore[misc]
            start=partial(broker.start, passphrase),
            log_path=broker.log_path,
        )
        for broker, passphrase in brokers.items()
    ]
    return Supervisor([*airflow, *own], status_path=settings.status_path)


def _watch(opened: Services, stack: AirflowStack, supervisor: Supervisor) -> None:
    """Keep house, and everything running, until interrupted.

    Raises:
        ConfigurationError: A process ends again and again.
    """
    housekeeping = Housekeeping(services=opened, address=stack.address)
    due = time.monotonic() + _HOUSEKEEPING_S
    while True:
        time.sleep(_TICK_S)
        for line in supervisor.look():
            stderr().print(f"[yellow]warning:[/] {escape(line)}")
        ensure_logins(opened.context.settings, [entry.name for entry in opened.workspaces.members()])
        if time.monotonic() >= due:
            rotate_logs(opened.context.settings.logs_dir)
            try:
                housekeeping.once()
            except OpaqueJobsError as error:
                stderr().print(f"[yellow]warning:[/] housekeeping: {escape(error.message)}")
            due = time.monotonic() + _HOUSEKEEPING_S
