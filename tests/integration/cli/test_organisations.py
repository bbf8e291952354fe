"""Making organisations and members: all or nothing, private files, clear refusals."""

import socket
import stat

import pytest
from vault_simulator import TOKEN, VaultSimulator


def test_org_create_makes_private_key_files_and_a_broker(empty):
    shown = empty.json("org", "create", "Hospital")
    files = [*empty.settings.keys_dir.iterdir(), *empty.settings.broker_dir(shown["id"]).iterdir()]
    assert {"Hospital.organisation.json", "key.json", "broker.json"} <= {file.name for file in files}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert empty.json("org", "list")[0]["name"] == "Hospital"


def test_org_create_twice_is_refused_and_keeps_the_first_key(empty):
    empty.json("org", "create", "Hospital")
    before = (empty.settings.keys_dir / "Hospital.organisation.json").read_bytes()
    empty.fails(7, "org", "create", "Hospital")
    assert (empty.settings.keys_dir / "Hospital.organisation.json").read_bytes() == before
    assert len(list(empty.settings.brokers_dir.iterdir())) == 1


@pytest.mark.parametrize("name", ["", "../up", "a" * 51, "naïve"])
def test_org_create_with_a_bad_name_is_refused_and_makes_nothing(empty, name):
    empty.fails(5, "org", "create", name)
    assert not empty.settings.keys_dir.exists()


def test_org_create_with_a_short_passphrase_makes_nothing(empty, tmp_path):
    short = tmp_path / "short"
    short.write_text("123\n")
    short.chmod(0o600)
    empty.fails(5, "org", "create", "Hospital", passphrase=short)
    assert list(empty.settings.keys_dir.glob("*")) == []
    assert list(empty.settings.brokers_dir.glob("*")) == []


def test_member_create_in_an_unknown_organisation_makes_no_key(empty):
    empty.fails(4, "member", "create", "anna", "--org", "Nowhere")
    assert not list(empty.settings.keys_dir.glob("*"))


def test_member_create_twice_is_refused_and_keeps_the_first_key(empty):
    empty.json("org", "create", "Hospital")
    empty.json("member", "create", "anna", "--org", "Hospital")
    path = empty.settings.keys_dir / "anna.member.json"
    before = path.read_bytes()
    empty.fails(7, "member", "create", "anna", "--org", "Hospital")
    assert path.read_bytes() == before
    assert [each["name"] for each in empty.json("member", "list")] == ["anna"]


def test_command_with_its_only_member_needs_no_as(empty):
    empty.json("org", "create", "Hospital")
    empty.json("member", "create", "anna", "--org", "Hospital")
    assert empty.json("workspace", "list") == []


def test_member_create_in_a_key_server_asks_for_its_token_and_writes_it_nowhere(empty, tmp_path):
    token = tmp_path / "token"
    token.write_text(f"{TOKEN}\n")
    token.chmod(0o600)
    empty.json("org", "create", "Hospital")
    with VaultSimulator() as vault:
        wanted = ("--key-store", "vault", "--key-store-setting", f"address={vault.address}")
        owner = ("--broker-passphrase-file", str(empty.passphrase_file))
        arguments = ("member", "create", "anna", "--org", "Hospital", *wanted, *owner)
        assert empty(*arguments, passphrase=token).exit_code == 0
        assert [key.type for key in vault.keys.values()] == ["ed25519"]
        assert empty("workspace", "create", "Alone", passphrase=token).exit_code == 0
        empty.fails(6, "workspace", "accept", "Alone")
        empty.fails(3, "workspace", "accept", "Alone", passphrase=token)  # signed, but the broker is not up
    assert empty.json("workspace", "show", "Alone")["status"] == "active"
    empty.fails(3, "workspace", "tell-brokers", "Alone")
    assert TOKEN not in "".join(path.read_text(errors="ignore") for path in empty.home.rglob("*") if path.is_file())


def test_org_create_with_settings_that_its_key_store_does_not_know_makes_nothing(empty):
    for settings in (["--key-store", "vault"], ["--key-store-setting", "x=y"], ["--key-store", "drawer"]):
        empty.fails(5, "org", "create", "Hospital", *settings)
    assert not list(empty.settings.keys_dir.glob("*"))


@pytest.mark.parametrize("options", [["--runner", "anna"], ["--run-policy", "named_members"]])
def test_workspace_with_runners_or_their_policy_alone_says_what_belongs_together(empty, options):
    empty.json("org", "create", "Hospital")
    empty.json("member", "create", "anna", "--org", "Hospital")
    assert "--run-policy named_members" in empty.fails(5, "workspace", "create", "Study", *options)
    assert empty.json("workspace", "list") == []


def test_org_create_with_the_port_of_another_broker_is_refused_and_makes_nothing(empty):
    port = empty.json("org", "create", "Hospital")["broker"].rpartition(":")[2]
    assert "'Hospital'" in empty.fails(7, "org", "create", "Institute", "--broker-port", port)
    assert [each["name"] for each in empty.json("org", "list")] == ["Hospital"]


def test_org_create_with_a_port_in_use_is_refused_and_one_without_takes_another(empty):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert port in empty.fails(3, "org", "create", "Hospital", "--broker-port", port)
        assert empty.json("org", "create", "Hospital")["broker"].rpartition(":")[2] != port


def test_status_of_a_home_that_is_not_up_lists_nothing(empty):
    assert empty.json("status") == []


def test_systemd_unit_without_passphrase_files_is_refused_and_with_one_is_printed(empty):
    assert "--passphrase-file" in empty.fails(5, "up", "--print-systemd-unit")
