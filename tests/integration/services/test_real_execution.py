"""Runs carried out by the services with the real agent in the real sandbox, between two real brokers on loopback."""

import os
import socket
import threading
import time
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uvicorn
from consortium import Clock, Consortium

from opaque_jobs.broker.app import create_app
from opaque_jobs.broker.config import BrokerConfig, write_config
from opaque_jobs.broker.release import Broker
from opaque_jobs.client.broker import BrokerClient
from opaque_jobs.client.results import open_real_result
from opaque_jobs.crypto.consent import sign_manifest
from opaque_jobs.crypto.custody import sign_deposit
from opaque_jobs.crypto.keys import BrokerKeys
from opaque_jobs.crypto.service_keys import create_service_key
from opaque_jobs.data.dataset_files import encrypt_batches
from opaque_jobs.domain import dataset as nouns
from opaque_jobs.domain.job import Code, Language
from opaque_jobs.domain.lifecycle import RunState
from opaque_jobs.domain.rerun_terms import RerunTerms
from opaque_jobs.domain.run import Trigger
from opaque_jobs.runner.execution import execute, execute_test
from opaque_jobs.services import open_services
from opaque_jobs.settings import Settings
from opaque_jobs.verify.own_trust import own_trust
from opaque_jobs.verify.receipts import verify_receipt
from tests.world import everything

pytestmark = pytest.mark.spark

TABLES = {
    "patients": ("anna", pa.table({"id": [1, 2, 3, 4], "radius": [1.5, 2.5, 3.5, 4.5]})),
    "findings": ("lea", pa.table({"id": [2, 3, 5], "malignant": [True, False, True]})),
}
CODE = "SELECT f.malignant, avg(p.radius) AS radius FROM patients p JOIN findings f USING (id) GROUP BY 1 ORDER BY 1"
SIZE = {"cores": 2, "memory_bytes": 3 << 30}


@contextmanager
def _serving(broker):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        server = uvicorn.Server(uvicorn.Config(create_app(broker), log_level="error", access_log=False, lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def _set_up(cast, stack):
    """Enlist everybody with brokers that answer, and share one encrypted data set of each side."""
    settings = cast.services.context.settings
    anchor = create_service_key(settings.simulated_key_path)
    cast.enlist()
    clients = {}
    for made in cast.organisations.values():
        folder = settings.broker_dir(made.entry.id)
        folder.mkdir(parents=True, mode=0o700)
        own = tuple(person.entry for person in cast.people.values() if person.entry.organisation_id == made.entry.id)
        config = BrokerConfig(v=1, organisation_id=made.entry.id, port=0, members=own, simulated_keys=(anchor.text,))
        keys = BrokerKeys(sealing=made.deposit, signing=made.signing)
        write_config(folder, config, keys)
        broker = Broker(folder, keys, clock=lambda: datetime.now(UTC))
        address = stack.enter_context(_serving(broker))
        cast.services.workspaces.move_broker(made.entry.id, broker_address=address)
        clients[made.entry.id] = stack.enter_context(BrokerClient(address))
    cast.workspace_id = cast.make_workspace("anna", "ben", "lea")
    push = cast.services.workspaces.broker_push(cast.workspace_id, actor=cast.id("anna"))
    for made in cast.organisations.values():
        clients[made.entry.id].push(key=made.signing.public, roster=push.roster, acceptances=push.acceptances)
    cast.clients = clients
    for name, (owner, table) in TABLES.items():
        _share(cast, clients, name=name, owner=owner, table=table)
    return anchor


def _encrypt(cast, clients, *, name, owner, table, version=1):
    """Encrypt one version and hand its key to the owner's broker; gives the signed manifest and the folder."""
    person = cast.people[owner]
    home, folder = person.entry.organisation_id, cast.services.context.settings.dataset_dir(f"ds-{name}", version)
    made = encrypt_batches(
        iter(table.to_batches()),
        table.schema,
        name=name,
        dataset_id=f"ds-{name}",
        version=version,
        organisation_id=home,
        out_dir=folder,
        now=cast.clock(),
        policy=everything,
    )
    envelope = sign_manifest(made.manifest, person.key)
    owner_org = next(each for each in cast.organisations.values() if each.entry.id == home)
    deposit = sign_deposit(
        made.manifest, made.root_key, made.salted, person.key, broker=owner_org.deposit.public, now=cast.clock()
    )
    clients[home].deposit(key=owner_org.signing.public, deposit=deposit, manifest=envelope)
    return envelope, folder


def _share(cast, clients, *, name, owner, table):
    person = cast.people[owner]
    home = person.entry.organisation_id
    envelope, folder = _encrypt(cast, clients, name=name, owner=owner, table=table)
    cast.services.datasets.register(actor=person.id, envelope=envelope, storage=folder, source=nouns.Source.LOCAL, description="")
    mock = cast.home / "mock" / name
    mock.mkdir(parents=True)
    pq.write_table(table.slice(0, 2), mock / "part-00000.parquet")
    cast.services.datasets.attach_test_data(actor=person.id, dataset_id=f"ds-{name}", kind=nouns.TestDataKind.MOCK, path=mock)
    sharing = cast.sharing(f"ds-{name}", owner)
    cast.services.datasets.share(actor=person.id, dataset_id=f"ds-{name}", workspace_id=cast.workspace_id, envelope=sharing)
    cast.dataset_ids[name] = f"ds-{name}"
    key = cast.organisations[home.removeprefix("org-")].signing.public
    clients[home].push(key=key, roster=None, sharings=[sharing])


@pytest.fixture(scope="module")
def real(enclave_runtime, tmp_path_factory):
    home = tmp_path_factory.mktemp("real") / "home"
    clock = Clock(moment=datetime.now(UTC).replace(microsecond=0))
    settings = Settings(home=home, database_url=f"sqlite:///{home / 'opaque-jobs.db'}", sandbox="bubblewrap")
    services = open_services(settings, migrate=True, now=clock, runtime=lambda: enclave_runtime)
    cast = Consortium(services=services, clock=clock)
    with ExitStack() as stack:
        stack.callback(services.close)
        cast.anchor = _set_up(cast, stack)
        yield cast


def _code(text=CODE):
    return {"code": Code(language=Language.SQL, text=text)}


def test_approved_job_gives_a_result_for_the_author_and_a_receipt_for_all(real):
    job = real.make_job(**_code())
    test = real.services.runs.start_test(actor=real.id("anna"), job_id=job.id, inputs={})
    assert execute_test(real.services, test.id, **SIZE).state is RunState.SUCCEEDED
    real.submit(job.id, test_run_id=test.id)
    real.vote(job.id, "ben")
    real.vote(job.id, "lea")
    run = real.open_run(job.id)
    words = []
    outcome = execute(real.services, run.id, **SIZE, on_status=words.append)
    assert (outcome.state, outcome.reason, outcome.reasons) == (RunState.SUCCEEDED, None, ())
    assert words[-1] == "done"

    view = real.services.runs.show(run.id, actor=real.id("anna"))
    folder = real.services.runs.result_folder(run.id, actor=real.id("anna"))
    opened = open_real_result(view, folder, real.organisations["hospital"].sealing, workspace_id=real.workspace_id)
    assert opened.table().to_pylist() == [{"malignant": False, "radius": 3.5}, {"malignant": True, "radius": 2.5}]

    context = real.services.runs.receipt(run.id, actor=real.id("lea"))
    receipt = verify_receipt(
        context.receipt,
        spec_bytes=context.spec_bytes,
        bundle_bytes=context.bundle_bytes,
        inputs=context.inputs,
        refreshed=context.refreshed,
        folder=real.services.context.settings.result_dir(context.run_id),
        trust=own_trust(real.services.context.settings),
    )
    assert receipt.trust_label == "simulated"
    owners = {path.stat().st_uid for path in [folder, *folder.rglob("*")]}
    assert owners == {os.geteuid()}
    assert {path.stat().st_mode & 0o077 for path in [folder, *folder.rglob("*")]} == {0}


def test_withdrawal_that_only_the_brokers_know_stops_the_run(real):
    from opaque_jobs.crypto.consent import sign_withdrawal

    job = real.accepted_job(**_code())
    lea = real.people["lea"]
    envelope = sign_withdrawal(real.spec(job.id), lea.entry, lea.key, now=real.clock())
    address = real.services.workspaces.organisation("org-laboratory").broker_address
    push = real.services.workspaces.broker_push(real.workspace_id, actor=lea.id)
    with BrokerClient(address) as client:
        key = real.organisations["laboratory"].signing.public
        client.push(key=key, roster=push.roster, acceptances=push.acceptances, withdrawals=[envelope])
    outcome = execute(real.services, real.open_run(job.id).id, **SIZE)
    assert (outcome.state, outcome.reason) == (RunState.FAILED, "broker-refused")
    assert "consent-withdrawn" in outcome.reasons


def test_broker_that_is_away_fails_the_run_and_leaves_the_lease(real):
    job = real.accepted_job(**_code())
    kept = real.services.workspaces.organisation("org-laboratory").broker_address
    real.services.workspaces.move_broker("org-laboratory", broker_address="http://127.0.0.1:9")
    try:
        outcome = execute(real.services, real.open_run(job.id).id, **SIZE)
    finally:
        real.services.workspaces.move_broker("org-laboratory", broker_address=kept)
    assert (outcome.state, outcome.reason) == (RunState.FAILED, "broker-unreachable")
    assert real.open_run(job.id).state is RunState.QUEUED


def test_authors_error_leaves_only_the_sealed_log(real):
    job = real.accepted_job(**_code("SELECT no_such_column FROM patients"))
    run = real.open_run(job.id)
    outcome = execute(real.services, run.id, **SIZE)
    assert (outcome.state, outcome.reason) == (RunState.FAILED, "author-error")
    folder = real.services.runs.result_folder(run.id, actor=real.id("anna"))
    assert [path.name for path in folder.iterdir()] == ["log.sealed.json"]


def test_cancelled_run_ends_its_enclave_and_publishes_nothing(real):
    job = real.accepted_job(**_code())
    run = real.open_run(job.id)
    began = time.monotonic()

    def cancel(_word):
        if real.services.runs.is_open(run.id):
            real.services.runs.cancel(run.id, actor=real.id("anna"))

    outcome = execute(real.services, run.id, **SIZE, on_status=cancel)
    assert outcome.state is RunState.CANCELLED
    assert time.monotonic() - began < timedelta(seconds=60).total_seconds()
    assert not real.services.context.settings.result_dir(run.id).exists()


def test_changed_data_file_is_refused_inside(real):
    job = real.accepted_job(**_code())
    part = real.services.context.settings.dataset_dir("ds-patients", 1) / "part-00000.parquet"
    data, mode = part.read_bytes(), part.stat().st_mode
    part.chmod(mode | 0o200)
    part.write_bytes(data[:200] + bytes([data[200] ^ 1]) + data[201:])
    try:
        outcome = execute(real.services, real.open_run(job.id).id, **SIZE)
    finally:
        part.write_bytes(data)
        part.chmod(mode)
    assert (outcome.state, outcome.reason) == (RunState.FAILED, "data-refused")


def test_job_that_follows_a_data_set_reads_its_newer_version_with_the_newer_key(real):
    terms = RerunTerms(
        max_runs=5,
        not_before=None,
        not_after="2100-01-01T00:00:00+00:00",
        min_interval_s=0,
        schedule=None,
        variable_inputs=(),
        follows=("findings",),
        on_refresh=True,
    )
    job = real.accepted_job(**_code(), rerun_terms=terms)
    still = real.accepted_job(**_code())
    table = pa.table({"id": [1, 4], "malignant": [True, True]})
    envelope, folder = _encrypt(real, real.clients, name="findings", owner="lea", table=table, version=2)
    real.services.datasets.add_version(actor=real.id("lea"), envelope=envelope, storage=folder)

    run = real.open_run(job.id, actor=None, trigger=Trigger.ASSET)
    outcome = execute(real.services, run.id, **SIZE)
    assert (outcome.state, outcome.reason, outcome.reasons) == (RunState.SUCCEEDED, None, ())
    assert _rows(real, run.id) == [{"malignant": True, "radius": 3.0}]
    view = real.services.runs.show(run.id, actor=real.id("lea"))
    assert view.dataset_versions == {"ds-patients": 1, "ds-findings": 2}

    run = real.open_run(still.id)
    assert execute(real.services, run.id, **SIZE).state is RunState.SUCCEEDED
    assert _rows(real, run.id) == [{"malignant": False, "radius": 3.5}, {"malignant": True, "radius": 2.5}]


def _rows(real, run_id):
    view = real.services.runs.show(run_id, actor=real.id("anna"))
    folder = real.services.runs.result_folder(run_id, actor=real.id("anna"))
    sealing = real.organisations["hospital"].sealing
    return open_real_result(view, folder, sealing, workspace_id=real.workspace_id).table().to_pylist()
