"""An administrator of the metadata database changes who is who before a member acts: nothing is sealed or sent to them."""

import json
import socket
import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from own_files import accept_shown
from typer.testing import CliRunner

from opaque_jobs.broker.config import claimed_config, key_path
from opaque_jobs.cli.main import build_app
from opaque_jobs.cli.member import create_member
from opaque_jobs.cli.org import create_organisation
from opaque_jobs.cli.rotation import Making, rotate_member_key
from opaque_jobs.client.holds import hold
from opaque_jobs.client.keys import member_key_path, own_key_ids
from opaque_jobs.client.memory import memory_path
from opaque_jobs.client.organisation import compared_organisation, pinned_organisation
from opaque_jobs.client.publishing import publish_dataset, share_dataset
from opaque_jobs.client.telling import push
from opaque_jobs.crypto.consent import sign_acceptance
from opaque_jobs.crypto.key_files import open_broker_keys, open_signing_key
from opaque_jobs.crypto.keys import SealingKey, SigningKey
from opaque_jobs.domain.release import HoldScope
from opaque_jobs.domain.workspace import MemberEntry
from opaque_jobs.errors import ConfigurationError, NotFoundError, OpaqueJobsError, TrustError
from opaque_jobs.protocol.views import BrokerPush, BrokerTarget
from opaque_jobs.services import open_services
from opaque_jobs.settings import Settings
from opaque_jobs.standalone.local_session import local_session

PASSPHRASE = "correct horse battery"


class Thief:
    """Answers 200 to everything, as any organisation's broker, and keeps what it is sent."""

    def __init__(self) -> None:
        thief = self
        self.got: list[bytes] = []
        self.organisation_id = ""

        class Handler(BaseHTTPRequestHandler):
            def _answer(self, document: dict) -> None:
                body = json.dumps(document).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self) -> None:
                self._answer({"organisation_id": thief.organisation_id})

            def do_POST(self) -> None:
                thief.got.append(self.rfile.read(int(self.headers["content-length"])))
                self._answer({"accepted": True})

            def log_message(self, *_args: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture(scope="module")
def thief():
    made = Thief()
    yield made
    made.server.shutdown()
    made.server.server_close()


def hands(settings: Settings):
    """Open the own broker's keys, as its owner does."""
    return lambda owner: open_broker_keys(key_path(settings.broker_dir(owner)), PASSPHRASE)


def as_owner(home: "Home") -> dict[str, str]:
    """Give the environment of somebody who has the broker's passphrase."""
    secret = home.settings.home / "secret"
    secret.write_text(PASSPHRASE)
    secret.chmod(0o600)
    return {"OPAQUE_JOBS_HOME": str(home.settings.home), "OPAQUE_JOBS_PASSPHRASE_FILE": str(secret)}


class Home:
    """A hospital and a laboratory in one home, whose brokers are not running; Anna's own broker is a port that nobody serves."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings(home=folder, database_url=f"sqlite:///{folder / 'opaque-jobs.db'}", sandbox="bubblewrap")
        self.settings.prepare()
        self.opened = open_services(self.settings, migrate=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.hospital, self.laboratory = (
            create_organisation(self.opened, name=name, passphrase=PASSPHRASE, port=port, simulated=True)
            for name in ("Hospital", "Laboratory")
        )
        self.anna = create_member(
            self.opened, name="anna", organisation="Hospital", passphrase=PASSPHRASE, broker=hands(self.settings)
        )
        self.signer = open_signing_key(member_key_path(self.settings, "anna"), PASSPHRASE)
        (folder / "visits.csv").write_text("patient,diagnosis\n1,CANARY\n")
        self.workspace_id = self.opened.workspaces.create(
            actor=self.anna.id, name="Study", description="", member_ids=[]
        ).workspace_id

    def sql(self, statement: str, *values: str) -> None:
        with closing(sqlite3.connect(self.settings.home / "opaque-jobs.db")) as database, database:
            database.execute(statement, values)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    home = Home(tmp_path_factory.mktemp("own"))
    yield home
    home.opened.close()


@pytest.fixture
def home(prepared):
    """The home, with its database as it was at first."""
    path = prepared.settings.home / "opaque-jobs.db"
    with closing(sqlite3.connect(path)) as database:
        before = {
            table: database.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608
            for table in ("organisations", "members")
        }
    yield prepared
    with closing(sqlite3.connect(path)) as database, database:
        for table, rows in before.items():
            database.execute("PRAGMA foreign_keys = OFF")
            database.execute(f"DELETE FROM {table}")  # noqa: S608
            database.executemany(f"INSERT INTO {table} VALUES ({','.join('?' * len(rows[0]))})", rows)  # noqa: S608


def changed_columns(home: Home, thief: Thief) -> list[tuple[str, str, str]]:
    """Give what the administrator writes into each column that says who somebody is or where they answer."""
    return [
        ("organisations", "sealing_key", SealingKey.generate().public.text),
        ("organisations", "broker_deposit_key", SealingKey.generate().public.text),
        ("organisations", "broker_signing_key", SigningKey.generate().public.text),
        ("organisations", "broker_address", thief.address),
        ("organisations", "name", "Another"),
        ("members", "organisation_id", home.laboratory.entry.id),
        ("members", "public_key", SigningKey.generate().public.text),
    ]


COLUMNS = [
    "sealing_key", "broker_deposit_key", "broker_signing_key", "broker_address", "name", "organisation_id", "public_key",
]  # fmt: skip


@pytest.fixture
def tampered(home, thief, request):
    """The home, with one column changed, and the thief where the database says that brokers are."""
    ((table, column, value),) = [each for each in changed_columns(home, thief) if each[1] == request.param]
    thief.got.clear()
    thief.organisation_id = home.hospital.entry.id
    of = "Hospital" if table == "organisations" else "anna"
    home.sql("UPDATE organisations SET broker_address = ?", thief.address)
    home.sql(f"UPDATE {table} SET {column} = ? WHERE name = ?", value, of)  # noqa: S608
    return home


@pytest.mark.parametrize("tampered", COLUMNS, indirect=True)
def test_column_changed_before_a_member_acts_gets_the_administrator_nothing(tampered, thief):
    home, anna = tampered, tampered.opened.workspaces.member_for_login("anna")
    acts = {
        "encrypt": lambda: publish_dataset(
            local_session(home.opened, anna), anna, home.signer, source=home.settings.home / "visits.csv", name="visits"
        ),
        "share": lambda: share_dataset(
            local_session(home.opened, anna), anna, home.signer, dataset_id="ds-1", workspace_id=home.workspace_id
        ),
        "hold": lambda: hold(
            pinned_organisation(home.settings, anna),
            anna,
            home.signer,
            scope=HoldScope.ALL,
            subject=home.hospital.entry.id,
            held=True,
        ),
    }
    for name, act in acts.items():
        with pytest.raises(OpaqueJobsError):
            act()
        assert thief.got == [], name
    assert not list(home.settings.datasets_dir.glob("*/*"))


@pytest.mark.parametrize("tampered", ["sealing_key", "broker_deposit_key", "broker_signing_key", "name"], indirect=True)
def test_first_member_list_with_another_key_of_the_own_organisation_is_not_accepted(tampered):
    home, anna = tampered, tampered.anna
    workspace = home.opened.workspaces.create(actor=anna.id, name="Forged", description="", member_ids=[])
    try:
        with pytest.raises(TrustError, match="your own organisation"):
            accept_shown(local_session(home.opened, anna), workspace.workspace_id, anna, home.signer)
    finally:
        home.opened.workspaces.cancel(workspace.workspace_id, actor=anna.id)


@pytest.mark.parametrize("tampered", ["broker_address"], indirect=True)
def test_own_broker_is_reached_where_the_member_was_told(tampered, thief):
    assert (
        compared_organisation(local_session(tampered.opened, tampered.anna), tampered.anna).broker_address
        == tampered.hospital.broker_address
    )
    with pytest.raises(ConfigurationError):
        publish_dataset(
            local_session(tampered.opened, tampered.anna),
            tampered.anna,
            tampered.signer,
            source=tampered.settings.home / "visits.csv",
            name="visits",
        )
    assert thief.got == []


def test_member_list_that_waits_with_a_key_that_the_database_no_longer_shows_is_not_accepted(home):
    """The administrator puts the table back after the list was made."""
    true = home.hospital.entry.sealing_key
    home.sql("UPDATE organisations SET sealing_key = ? WHERE name = 'Hospital'", SealingKey.generate().public.text)
    workspace = home.opened.workspaces.create(actor=home.anna.id, name="Forged", description="", member_ids=[])
    home.sql("UPDATE organisations SET sealing_key = ? WHERE name = 'Hospital'", true)
    try:
        with pytest.raises(TrustError, match="your own organisation"):
            accept_shown(local_session(home.opened, home.anna), workspace.workspace_id, home.anna, home.signer)
    finally:
        home.opened.workspaces.cancel(workspace.workspace_id, actor=home.anna.id)


def test_broker_that_answers_but_does_not_sign_for_what_it_kept_counts_as_not_told(home, thief):
    """Something else listens where the own broker should: a hold is not taken for done."""
    own = replace(pinned_organisation(home.settings, home.anna), broker_address=thief.address)
    with pytest.raises(TrustError, match="did not prove"):
        hold(own, home.anna, home.signer, scope=HoldScope.ALL, subject=home.hospital.entry.id, held=True)


def test_other_broker_that_does_not_sign_for_what_it_kept_counts_as_not_told(home, thief):
    """The database names an address of the administrator's for another organisation's broker."""
    workspace = home.opened.workspaces.create(actor=home.anna.id, name="Told", description="", member_ids=[])
    roster = workspace.roster
    signed = sign_acceptance(roster, home.anna, home.signer, now=datetime.now(UTC))
    home.opened.workspaces.cancel(workspace.workspace_id, actor=home.anna.id)
    target = BrokerTarget(organisation_id=home.hospital.entry.id, address=thief.address)
    known = BrokerPush(targets=(target,), roster=roster.to_bytes(), acceptances=(signed,), earlier=(), withdrawals=())
    with pytest.raises(TrustError, match="did not prove"):
        push(known, None)
    with pytest.raises(TrustError, match="all its members signed"):
        push(replace(known, acceptances=()), None)


def test_list_that_somebody_signed_in_a_members_name_reaches_no_other_broker(home, thief):
    """The administrator makes a list with a key of their own and calls it Anna's: each signature holds."""
    forger, other, thief.organisation_id = SigningKey.generate(), SigningKey.generate(), home.laboratory.entry.id
    anna = replace(home.anna, public_key=forger.public.text)
    lea = MemberEntry(id="member-lea", name="lea", organisation_id=home.laboratory.entry.id, public_key=other.public.text)
    true = home.opened.workspaces.create(actor=home.anna.id, name="Named", description="", member_ids=[]).roster
    home.opened.workspaces.cancel(true.workspace_id, actor=home.anna.id)
    owners = tuple(sorted((home.hospital.entry, home.laboratory.entry), key=lambda each: each.id))
    forged = replace(true, members=tuple(sorted((anna, lea), key=lambda each: each.id)), organisations=owners)
    signed = tuple(sign_acceptance(forged, each, key, now=datetime.now(UTC)) for each, key in ((anna, forger), (lea, other)))
    target = BrokerTarget(organisation_id=home.laboratory.entry.id, address=thief.address)
    known = BrokerPush(targets=(target,), roster=forged.to_bytes(), acceptances=signed, earlier=(), withdrawals=())
    thief.got.clear()
    with pytest.raises(TrustError, match="you and all its members signed"):
        push(known, pinned_organisation(home.settings, home.anna), keys=own_key_ids(home.settings, home.anna))
    assert thief.got == []


def test_member_who_was_told_nothing_seals_nothing(home):
    path = memory_path(home.settings, "anna")
    kept = path.read_bytes()
    path.unlink()
    try:
        with pytest.raises(NotFoundError, match="keys of their own organisation"):
            compared_organisation(local_session(home.opened, home.anna), home.anna)
    finally:
        path.write_bytes(kept)


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("tampered", ["public_key"], indirect=True)
def test_broker_pins_no_key_that_the_database_alone_names(tampered, told):
    arguments = ["broker", "pin", "anna", *([tampered.anna.key_id] if told else [])]
    result = CliRunner().invoke(build_app(arguments), arguments, env={"OPAQUE_JOBS_HOME": str(tampered.settings.home)})
    assert (result.exit_code, "another key" in result.stderr) == (8, True), result.output
    assert pinned_key_ids(tampered) == [tampered.anna.key_id]


def test_broker_believes_a_machine_until_it_is_told_to_forget_it(home):
    key, folder = SigningKey.generate().public.text, home.settings.broker_dir(home.hospital.entry.id)
    before = claimed_config(folder).simulated_keys
    for more, believed in (([], (*before, key)), (["--forget"], before)):
        arguments = ["broker", "believe", "Hospital", key, *more]
        result = CliRunner().invoke(build_app(arguments), arguments, env=as_owner(home))
        assert (result.exit_code, claimed_config(folder).simulated_keys) == (0, believed), result.output


@pytest.mark.parametrize("tampered", ["public_key"], indirect=True)
def test_key_change_pins_no_key_but_that_of_the_key_file(tampered):
    """The database pretends that the key was changed already and only waits to be pinned."""
    path, member = member_key_path(tampered.settings, "anna"), tampered.opened.workspaces.member_for_login("anna")
    making = Making(
        make=lambda _path: None,
        authorise=lambda: tampered.signer,
        step=lambda _: None,
        broker=lambda: hands(tampered.settings)(tampered.hospital.entry.id),
    )
    with pytest.raises(TrustError, match="than their key file"):
        rotate_member_key(tampered.opened, member, path, making)
    assert pinned_key_ids(tampered) == [tampered.anna.key_id]


def pinned_key_ids(home):
    members = claimed_config(home.settings.broker_dir(home.hospital.entry.id)).members
    return [each.key_id for each in members]


def test_broker_lets_nobody_go_but_whom_it_pinned_by_that_name(tmp_path):
    """The database calls one own member by the other's name."""
    home = Home(tmp_path)
    create_member(home.opened, name="ben", organisation="Hospital", passphrase=PASSPHRASE, broker=hands(home.settings))
    for old, new in (("anna", "x"), ("ben", "anna"), ("x", "ben")):
        home.sql("UPDATE members SET name = ? WHERE name = ?", new, old)
    for name, code in (("nobody", 4), ("ben", 0)):
        arguments = ["broker", "unpin", name]
        result = CliRunner().invoke(build_app(arguments), arguments, env=as_owner(home))
        assert result.exit_code == code, result.output
    members = claimed_config(home.settings.broker_dir(home.hospital.entry.id)).members
    assert [each.id for each in members] == [home.anna.id]
    home.opened.close()
