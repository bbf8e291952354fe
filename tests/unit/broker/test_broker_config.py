"""A broker's folder: made once, pinned by hand, read strictly."""

import json

import pytest

from opaque_jobs.broker.config import (
    BrokerConfig,
    believe_simulated,
    claimed_config,
    config_path,
    disbelieve_simulated,
    key_path,
    load_config,
    pin_member,
    set_up_broker,
    unpin_member,
    write_config,
)
from opaque_jobs.broker.server import open_broker
from opaque_jobs.broker.store import Store
from opaque_jobs.crypto.key_files import open_broker_keys
from opaque_jobs.crypto.keys import SigningKey
from opaque_jobs.domain.canonical import canonical_bytes
from opaque_jobs.domain.document import to_json
from opaque_jobs.domain.release import Release
from opaque_jobs.errors import ConfigurationError, ConflictError, InvalidInputError, NotFoundError, TrustError
from tests.world import NOW, Member, World

PASSPHRASE = "a passphrase"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("broker") / "org-1"
    key = SigningKey.generate().public
    set_up_broker(
        folder,
        organisation_id="org-1",
        passphrase=PASSPHRASE,
        port=0,
        members=[Member("member-a", "org-1").entry],
        simulated_keys=[key],
    )
    return folder


@pytest.fixture(scope="module")
def keys(folder):
    return open_broker_keys(key_path(folder), PASSPHRASE)


def test_set_up_broker_opens_with_its_passphrase_only(folder):
    broker = open_broker(folder, passphrase=PASSPHRASE)
    assert broker.config.organisation_id == "org-1"
    assert len(broker.config.simulated_keys) == 1
    with pytest.raises(TrustError):
        open_broker(folder, passphrase="another one")


def test_set_up_twice_is_refused_and_changes_nothing(folder):
    before = key_path(folder).read_bytes()
    with pytest.raises(ConflictError):
        set_up_broker(folder, organisation_id="org-1", passphrase=PASSPHRASE, port=0)
    assert key_path(folder).read_bytes() == before


def test_member_of_another_organisation_cannot_be_pinned(folder, keys):
    with pytest.raises(InvalidInputError):
        pin_member(folder, Member("member-x", "org-2").entry, keys)
    assert [member.id for member in load_config(folder, keys).members] == ["member-a"]


def test_pinned_member_takes_the_place_of_their_old_key(tmp_path, folder, keys):
    config_path(tmp_path).write_bytes(config_path(folder).read_bytes())
    fresh = Member("member-a", "org-1").entry
    pin_member(tmp_path, fresh, keys)
    pin_member(tmp_path, Member("member-b", "org-1").entry, keys)
    config = load_config(tmp_path, keys)
    assert {member.id for member in config.members} == {"member-a", "member-b"}
    assert fresh.key_id in config.member_keys
    assert {path.name for path in tmp_path.iterdir()} == {"broker.json", "broker.db", "memory.anchor"}


def test_member_who_was_let_go_is_pinned_no_more(tmp_path, folder, keys):
    config_path(tmp_path).write_bytes(config_path(folder).read_bytes())
    unpin_member(tmp_path, "member-a", keys)
    assert load_config(tmp_path, keys).members == ()
    with pytest.raises(NotFoundError):
        unpin_member(tmp_path, "member-a", keys)


def _edited(folder, edit):
    """Write the settings as a process of the same user can, with the passphrase of nothing."""
    document = json.loads(config_path(folder).read_bytes())
    settings = json.loads(document["settings"])
    edit(settings)
    document["settings"] = canonical_bytes(settings).decode()
    config_path(folder).write_bytes(canonical_bytes(document))


def test_settings_that_somebody_without_the_passphrase_wrote_are_refused(tmp_path):
    world = World()
    broker = world.make_broker(world.hospital, tmp_path)
    thief = Member("member-thief", "org-hospital")
    _edited(tmp_path, lambda settings: settings["members"].append(to_json(thief.entry)))
    for read in (lambda: broker.config, lambda: load_config(tmp_path, world.hospital.broker)):
        with pytest.raises(TrustError, match="changed by somebody"):
            read()
    with pytest.raises(TrustError, match="changed by somebody"):
        pin_member(tmp_path, world.anna.entry, world.hospital.broker)


def test_settings_authenticated_by_another_broker_are_refused(tmp_path):
    world = World()
    broker = world.make_broker(world.hospital, tmp_path)
    write_config(tmp_path, broker.config, world.laboratory.broker)
    with pytest.raises(TrustError, match="changed by somebody"):
        _ = broker.config


def test_folder_without_a_broker_is_not_found(tmp_path):
    with pytest.raises(NotFoundError):
        claimed_config(tmp_path)
    with pytest.raises(NotFoundError):
        open_broker(tmp_path, passphrase=PASSPHRASE)


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff"])
def test_settings_of_another_form_are_refused(tmp_path, data):
    config_path(tmp_path).write_bytes(data)
    with pytest.raises(InvalidInputError):
        claimed_config(tmp_path)


@pytest.mark.parametrize("over", [{"port": 65536}, {"port": -1}, {"simulated_keys": ("x",)}, {"v": 2}])
def test_settings_that_are_not_valid_are_refused(over):
    fields = {"v": 1, "organisation_id": "org-1", "port": 0, "members": (), "simulated_keys": ()}
    with pytest.raises(InvalidInputError):
        BrokerConfig(**(fields | over))


def make_release(**over):
    given = {
        "v": 1,
        "organisation_id": "org-1",
        "workspace_id": "ws-1",
        "run_id": "run-1",
        "tee_key_id": "sha256:t",
        "datasets": {"ds-1/1": "sha256:" + "33" * 32},
        "released_at": NOW.isoformat(),
    }
    return Release(**(given | over))


def test_database_that_is_none_is_refused(tmp_path):
    (tmp_path / "broker.db").write_bytes(b"not a database" * 100)
    with pytest.raises(ConfigurationError):
        Store(tmp_path / "broker.db", World().hospital.broker)


def test_database_of_a_newer_version_is_refused(tmp_path):
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(tmp_path / "broker.db")) as connection:
        connection.execute("PRAGMA user_version = 9")
    with pytest.raises(ConfigurationError, match="version"):
        Store(tmp_path / "broker.db", World().hospital.broker)


def test_transaction_that_fails_leaves_nothing(tmp_path):
    store = Store(tmp_path / "broker.db", World().hospital.broker)

    def fail() -> None:
        with store.transaction() as memory:
            memory.put_withdrawal("ws-1", "sha256:x", b"e")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with store.transaction() as memory:
        assert memory.withdrawals("ws-1", "sha256:x") == ()


def test_store_never_goes_back_to_an_older_member_list(tmp_path):
    world = World()
    first = world.make_roster()
    second = world.next_roster(first)
    store = Store(tmp_path / "broker.db", World().hospital.broker)
    with store.transaction() as memory:
        memory.put_roster(second)
        memory.put_roster(first)
        assert memory.roster("ws-1") == second


def test_store_answers_for_a_dataset_of_a_run_once(tmp_path):
    delivery = {"job_digest": "sha256:j", "run_id": "run-1", "version": 1}
    with Store(tmp_path / "broker.db", World().hospital.broker).transaction() as memory:
        memory.record_release(make_release(), job_digest="sha256:j", statement=b"first")
        memory.record_release(make_release(tee_key_id="sha256:other"), job_digest="sha256:j", statement=b"second")
        assert memory.statement("sha256:j", "run-1") == (b"first", False)
        assert memory.released_to("sha256:j", "run-1") == "sha256:t"
        memory.mark_logged("sha256:j", "run-1")
        assert memory.statement("sha256:j", "run-1") == (b"first", True)
        assert memory.record_delivery(dataset_id="ds-1", **delivery)
        assert memory.record_delivery(dataset_id="ds-2", **delivery)
        assert not memory.record_delivery(dataset_id="ds-1", **delivery)
        assert memory.releases("sha256:j", but_run="run-2") == (NOW,)


def test_machine_that_was_believed_can_be_forgotten_once(tmp_path):
    world, key = World(), SigningKey.generate().public
    world.make_broker(world.hospital, tmp_path)
    before = load_config(tmp_path, world.hospital.broker).simulated_keys
    believe_simulated(tmp_path, key, world.hospital.broker)
    assert load_config(tmp_path, world.hospital.broker).simulated_keys == (*before, key.text)
    disbelieve_simulated(tmp_path, key, world.hospital.broker)
    assert load_config(tmp_path, world.hospital.broker).simulated_keys == before
    with pytest.raises(NotFoundError):
        disbelieve_simulated(tmp_path, key, world.hospital.broker)


@pytest.mark.parametrize("name", ["genesis", "previous"])
def test_later_member_list_without_a_link_to_those_before_is_refused(name):
    world = World()
    with pytest.raises(InvalidInputError):
        world.next_roster(world.make_roster(), **{name: ""})
