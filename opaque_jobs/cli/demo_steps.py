"""The demo, one small function a step, through the same services and commands' functions as everybody's work."""

import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from opaque_jobs.broker.config import key_path
from opaque_jobs.cli.demo_jobs import DIAGNOSES, MEASUREMENTS, SIMULATED, DemoJob
from opaque_jobs.cli.drafting import Wanted, build_draft
from opaque_jobs.cli.export import plain_value
from opaque_jobs.cli.member import create_member
from opaque_jobs.cli.org import create_organisation
from opaque_jobs.cli.progress import Step
from opaque_jobs.cli.running import airflow_for, check_succeeded, find_run, run_test, wait_for_run
from opaque_jobs.client.drafts import remember_draft
from opaque_jobs.client.keys import member_key_path, organisation_key_path
from opaque_jobs.client.publishing import attach_made_test_data, publish_dataset, share_dataset
from opaque_jobs.client.results import open_real_result, open_test_result
from opaque_jobs.client.reviews import cast_vote, submit_job
from opaque_jobs.client.rosters import accept_roster
from opaque_jobs.client.signed_lists import known_beforehand
from opaque_jobs.client.telling import check_answers
from opaque_jobs.client.verified_runs import verified_run
from opaque_jobs.crypto.key_files import open_broker_keys, open_organisation_key, open_signing_key
from opaque_jobs.crypto.keys import SealingKey, Signer
from opaque_jobs.data.demo import write_demo_sources
from opaque_jobs.domain.dataset import TestDataKind
from opaque_jobs.domain.review import Decision
from opaque_jobs.domain.tee_policy import NO_HARDWARE
from opaque_jobs.domain.workspace import MemberEntry
from opaque_jobs.errors import ConfigurationError, ConflictError, DeniedError, OpaqueJobsError, TrustError
from opaque_jobs.protocol.views import DatasetView, JobView, OrganisationView, RunView
from opaque_jobs.services import Services
from opaque_jobs.standalone.child import Child
from opaque_jobs.standalone.launcher import running_address
from opaque_jobs.standalone.local_session import local_session
from opaque_jobs.verify.receipts import ReceiptReport, inspect_receipt

__all__ = [
    "Cast",
    "Drafted",
    "Opened",
    "approve",
    "draft_job",
    "encrypt_data",
    "finish_run",
    "found_organisations",
    "found_workspace",
    "open_for_author",
    "refusals_for",
    "start_run",
    "start_stack",
    "try_and_submit",
    "verify_for",
    "wait_for_airflow",
    "wait_for_brokers",
    "waits_at_gate",
]

HOSPITAL: Final = "Hospital"
LABORATORY: Final = "Laboratory"
_PEOPLE: Final = {"anna": HOSPITAL, "ben": HOSPITAL, "lea": LABORATORY}
_AIRFLOW_S: Final = 180.0
_RUN_S: Final = 240.0
_TEST_ROWS: Final = 400


@dataclass(slots=True, kw_only=True)
class Cast:
    """Who and what the demo has made so far."""

    services: Services
    passphrase: str = field(repr=False)
    organisations: dict[str, OrganisationView] = field(default_factory=dict)
    members: dict[str, MemberEntry] = field(default_factory=dict)
    signers: dict[str, Signer] = field(default_factory=dict)
    sealing: dict[str, SealingKey] = field(default_factory=dict)
    workspace_id: str = ""
    datasets: dict[str, DatasetView] = field(default_factory=dict)
    submitted: dict[str, str] = field(default_factory=dict)

    def organisation_of(self, name: str) -> str:
        """Give the name of a member's organisation."""
        return _PEOPLE[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drafted:
    """A job of the demo that is under review or further."""

    job: DemoJob
    view: JobView


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A result as its reader sees it."""

    columns: list[str]
    rows: list[dict[str, Any]]


def _free_ports(count: int) -> list[int]:
    """Give free loopback ports, all different."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def found_organisations(cast: Cast, shown: Step) -> None:
    """Make two organisations with their brokers, three members, and open their key files."""
    settings = cast.services.context.settings
    for name, port in zip((HOSPITAL, LABORATORY), _free_ports(2), strict=True):
        shown.say(f"keys of {name}")
        cast.organisations[name] = create_organisation(
            cast.services, name=name, passphrase=cast.passphrase, port=port, simulated=True
        )
        cast.sealing[name] = open_organisation_key(organisation_key_path(settings, name), cast.passphrase)
    for name, organisation in _PEOPLE.items():
        shown.say(f"key of {name}")
        cast.members[name] = create_member(
            cast.services,
            name=name,
            organisation=organisation,
            passphrase=cast.passphrase,
            broker=lambda owner: open_broker_keys(key_path(settings.broker_dir(owner)), cast.passphrase),
        )
        cast.signers[name] = open_signing_key(member_key_path(settings, name), cast.passphrase)


def start_stack(cast: Cast, *, port: int) -> Child:
    """Start `opaque-jobs up` for this home beside the demo: key brokers, then Airflow."""
    child = Child(cast.services.context.settings, ["up", "--port", str(port)], log_name="up", grace_s=40.0)
    child.start(cast.passphrase)
    return child


def _check_lives(stack: Child) -> None:
    if stack.ended:
        raise ConfigurationError("'opaque-jobs up' ended by itself", hint=stack.last_words() or "read its log")


def wait_for_brokers(cast: Cast, stack: Child) -> None:
    """Wait until both brokers answer.

    Raises:
        ConfigurationError: They do not.
    """
    deadline = time.monotonic() + _AIRFLOW_S
    for view in cast.organisations.values():
        while True:
            try:
                check_answers(view.broker_address, view.entry.id)
                break
            except ConfigurationError:
                _check_lives(stack)
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)


def found_workspace(cast: Cast, shown: Step) -> None:
    """Propose a workspace and let every member accept it with their signature."""
    proposal = cast.services.workspaces.create(
        actor=cast.members["anna"].id,
        name="Tumour study",
        description="Measurements of the hospital, diagnoses of the laboratory",
        member_ids=[member.id for member in cast.members.values()],
    )
    cast.workspace_id = proposal.workspace_id
    for name, member in cast.members.items():
        seen, signer = proposal.roster.digest, cast.signers[name]
        view = accept_roster(local_session(cast.services, member), proposal.workspace_id, member, signer, expected_digest=seen)
        shown.note(f"{name} ({cast.organisation_of(name)}) signed the member list: workspace [bold]{view.status.value}[/]")


def encrypt_data(cast: Cast, folder: Path, shown: Step) -> None:
    """Encrypt each owner's real data, hand its key to the owner's broker, make test data, share."""
    sources = write_demo_sources(folder)
    for owner, name, source in (("anna", MEASUREMENTS, sources.measurements), ("lea", DIAGNOSES, sources.diagnoses)):
        shown.say(f"{cast.organisation_of(owner)}: {source.name}")
        member, signer = cast.members[owner], cast.signers[owner]
        view = publish_dataset(local_session(cast.services, member), member, signer, source=source, name=name).view
        attach_made_test_data(
            local_session(cast.services, member),
            member,
            signer,
            view,
            kind=TestDataKind.SYNTHETIC,
            source=source,
            rows=_TEST_ROWS,
            seed=1,
            keys=["patient_id"],
        )
        cast.datasets[name] = share_dataset(
            local_session(cast.services, member), member, signer, dataset_id=view.id, workspace_id=cast.workspace_id
        )
        rows, columns = view.versions[-1].manifest.rows, len(view.columns)
        shown.note(f"{cast.organisation_of(owner)}: [bold]{name}[/], {rows} rows x {columns} columns, encrypted and shared")


def draft_job(cast: Cast, job: DemoJob) -> Drafted:
    """Write a draft."""
    draft = build_draft(
        Wanted(
            name=job.name,
            description=f"Demo: {job.kind}",
            code=job.code,
            template=job.template,
            parameters=job.parameters,
            datasets=cast.datasets,
            columns=job.columns,
            inputs=job.inputs,
            rerun_terms=job.rerun_terms,
            tee_kinds=SIMULATED,
            tee_policies=NO_HARDWARE,
            spark_conf={},
        )
    )
    author = cast.members[job.author]
    view = cast.services.jobs.create_draft(actor=author.id, workspace_id=cast.workspace_id, draft=draft)
    remember_draft(cast.services.context.settings, author, view, draft)
    return Drafted(job=job, view=view)


def try_and_submit(cast: Cast, drafted: Drafted, shown: Step) -> Opened:
    """Run a draft on synthetic data in the sandbox, then submit it with its author's approval."""
    author = cast.members[drafted.job.author]
    run = run_test(cast.services, author, drafted.view.id, {}, on_status=shown.say)
    check_succeeded(local_session(cast.services, author), run)
    opened = open_test_result(cast.services.runs.result_folder(run.id, actor=author.id))
    found = Opened(columns=opened.schema.names, rows=opened.table().to_pylist())
    view = submit_job(
        local_session(cast.services, author), author, cast.signers[drafted.job.author], drafted.view.id, test_run_id=run.id
    )
    cast.submitted[drafted.view.id] = view.digest
    return found


def approve(cast: Cast, drafted: Drafted, name: str) -> str:
    """Approve a job as a member; gives the job's status."""
    member, signer, job_id = cast.members[name], cast.signers[name], drafted.view.id
    seen = cast.submitted[job_id]
    view = cast_vote(
        local_session(cast.services, member), member, signer, job_id, decision=Decision.APPROVE, expected_digest=seen
    )
    return view.status.value


def wait_for_airflow(cast: Cast, stack: Child, shown: Step) -> str:
    """Wait until Airflow is up and give its address.

    Raises:
        ConfigurationError: It is not, in time.
    """
    deadline = time.monotonic() + _AIRFLOW_S
    while (address := running_address(cast.services.context.settings)) is None:
        _check_lives(stack)
        shown.say(stack.last_words()[:60])
        if time.monotonic() > deadline:
            raise ConfigurationError("Airflow did not start in time", hint=f"read the logs in {stack.log_path.parent}")
        time.sleep(0.3)
    return address


def start_run(cast: Cast, drafted: Drafted, inputs: Mapping[str, Any]) -> RunView:
    """Start a run of the job's generated DAG through Airflow's REST, as its author."""
    author = cast.members[drafted.job.author]
    with airflow_for(cast.services, author) as airflow:
        airflow.wait_for_dag(drafted.view.id)
        dag_run_id = airflow.trigger(drafted.view.id, inputs=inputs)
    return find_run(local_session(cast.services, author), job_id=drafted.view.id, dag_run_id=dag_run_id)


def waits_at_gate(cast: Cast, drafted: Drafted, run: RunView, *, for_s: float) -> dict[str, str | None]:
    """Watch that nothing behind the gate starts while a vote is out; gives the states of Airflow's tasks.

    Raises:
        ConflictError: The gate is not shut.
    """
    author = cast.members[drafted.job.author]
    until = time.monotonic() + for_s
    tasks: dict[str, str | None] = {}
    with airflow_for(cast.services, author) as airflow:
        while time.monotonic() < until or tasks.get("wait_for_approvals") != "deferred":
            tasks = airflow.dag_run(drafted.view.id, run.dag_run_id).tasks
            word = cast.services.deployments.gate_states([run.id])[run.id]
            if word != "waiting" or tasks.get("run_in_enclave") not in (None, "scheduled"):
                raise ConflictError("the run did not wait for the third approval", hint="this is a fault of the program")
            if time.monotonic() > until + 30:
                break
            time.sleep(0.3)
    return tasks


def finish_run(cast: Cast, drafted: Drafted, run: RunView, shown: Step) -> RunView:
    """Wait for a run's end.

    Raises:
        ConflictError: It did not succeed.
    """
    author = cast.members[drafted.job.author]
    ended = wait_for_run(local_session(cast.services, author), run.id, timeout_s=_RUN_S, on_status=shown.say)
    check_succeeded(local_session(cast.services, author), ended)
    return ended


def open_for_author(cast: Cast, drafted: Drafted, run: RunView) -> Opened:
    """Open a result with the key of the author's organisation."""
    author = cast.members[drafted.job.author]
    key = cast.sealing[cast.organisation_of(drafted.job.author)]
    with verified_run(local_session(cast.services, author), run, author) as proved:
        opened = open_real_result(proved.run, proved.folder, key, workspace_id=proved.receipt.workspace_id)
        return Opened(columns=opened.schema.names, rows=[plain_value(row) for row in opened.table().to_pylist()])


def refusals_for(cast: Cast, drafted: Drafted, run: RunView) -> dict[str, str]:
    """Try to read a result as the other organisation: by asking, and with the files and its own key in hand.

    Raises:
        TrustError: It could be read.
    """
    other = LABORATORY if cast.organisation_of(drafted.job.author) == HOSPITAL else HOSPITAL
    stranger = next(cast.members[name] for name, organisation in _PEOPLE.items() if organisation == other)
    folder = cast.services.context.settings.result_dir(run.id)
    attempts: dict[str, Callable[[], object]] = {
        "asking for it": lambda: cast.services.runs.result_folder(run.id, actor=stranger.id),
        "opening the files with its own key": lambda: open_real_result(
            run, folder, cast.sealing[other], workspace_id=cast.workspace_id
        ),
    }
    refused: dict[str, str] = {}
    for how, attempt in attempts.items():
        try:
            attempt()
        except (DeniedError, TrustError) as error:
            refused[how] = error.message
        except OpaqueJobsError as error:
            raise TrustError("the refusal has another reason than expected", hint=error.message) from None
        else:
            raise TrustError(f"{other} could read a result that is not its own", hint="this is a fault of the program")
    return refused


def verify_for(cast: Cast, run: RunView, name: str) -> ReceiptReport:
    """Verify a receipt as any member."""
    context = cast.services.runs.receipt(run.id, actor=cast.members[name].id)
    return inspect_receipt(
        context.receipt,
        spec_bytes=context.spec_bytes,
        bundle_bytes=context.bundle_bytes,
        inputs=context.inputs,
        refreshed=context.refreshed,
        folder=cast.services.context.settings.result_dir(run.id),
        trust=known_beforehand(local_session(cast.services, cast.members[name]), cast.members[name], context),
        run_id=run.id,
    )
