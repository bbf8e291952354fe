"""Passphrases, PINs, tokens and keys, searched for after every command about keys: in files, output, errors and process lists.

Every command runs as a program of its own, as people run it, with its debug output on.
"""

import contextlib
import json
import os
import secrets

import pytest
from commands import Commands
from leak_search import ProcessWatch, Secrets
from soft_token import PIN, WHY_NOT, soft_token
from vault_simulator import TOKEN, VaultSimulator

from opaque_jobs.broker.config import key_path
from opaque_jobs.crypto.key_files import open_broker_keys, open_organisation_key, open_signing_key

WORDS = ("hospital", "anna", "anna-new", "hospital-new", "officer-1", "officer-2", "officer-3", "restored", "wrong")


def run_all(commands: Commands, vault: VaultSimulator, token: dict[str, str] | None) -> dict[str, bytes]:
    """Use every command about keys, rightly and wrongly; gives the private keys that were in play."""
    file, settings = commands.file, commands.settings
    owner = ("--broker-passphrase-file", file("hospital"))
    commands("org", "create", "Hospital", "--passphrase-file", file("hospital"))
    commands("member", "create", "anna", "--org", "Hospital", "--passphrase-file", file("anna"), *owner)
    organisation_file = settings.keys_dir / "Hospital.organisation.json"
    member_file = settings.keys_dir / "anna.member.json"
    organisation = json.loads(organisation_file.read_bytes())["owner_id"]
    broker = open_broker_keys(key_path(settings.broker_dir(organisation)), commands.words["hospital"])
    keys = {
        "sealing key": open_organisation_key(organisation_file, commands.words["hospital"]).seed,
        "signing key": open_signing_key(member_file, commands.words["anna"]).seed,
        "deposit key": broker.sealing.seed,
        "broker's signing key": broker.signing.seed,
    }
    for store, where, word in (("vault", [f"address={vault.address}"], "token"), ("pkcs11", token, "pin")):
        if where is None:
            continue
        listed = where if isinstance(where, list) else [f"{name}={value}" for name, value in where.items()]
        chosen = ["--key-store", store, *(part for each in listed for part in ("--key-store-setting", each))]
        commands("member", "create", f"{store}-member", "--org", "Hospital", *chosen, "--passphrase-file", file(word), *owner)
        commands("org", "create", f"{store}-org", *chosen, "--passphrase-file", file(word))
        wrong = ("--passphrase-file", file("wrong"))
        commands("member", "create", "nobody", "--org", "Hospital", *chosen, *wrong, *owner, code=6 if store == "vault" else 8)
        commands("workspace", "create", f"of-{store}", "--as", f"{store}-member")
        accept = ("workspace", "accept", f"of-{store}", "--as", f"{store}-member", "--passphrase-file")
        commands(*accept, file("wrong"), code=6 if store == "vault" else 8)
        commands(*accept, file(word), code=3)  # signed; no broker is up
    officers = [part for number in (1, 2, 3) for part in ("--share-passphrase-file", file(f"officer-{number}"))]
    shares = commands.folder / "searched" / "shares"
    make = ("org", "shares", "make", "Hospital", "--threshold", "2", "--shares", "3", "--to", str(shares), *officers)
    commands(*make, "--passphrase-file", file("wrong"), code=8)
    commands(*make, "--passphrase-file", file("hospital"))
    commands(
        "member", "rotate-key", "anna", "--passphrase-file", file("wrong"), "--new-passphrase-file", file("anna-new"), code=8
    )
    commands("member", "rotate-key", "anna", "--passphrase-file", file("anna"), "--new-passphrase-file", file("anna-new"), *owner)
    keys["new signing key"] = open_signing_key(member_file, commands.words["anna-new"]).seed
    changed = ("--passphrase-file", file("hospital"), "--new-passphrase-file", file("hospital-new"))
    commands("org", "rotate-key", "Hospital", *changed)
    keys["new sealing key"] = open_organisation_key(organisation_file, commands.words["hospital-new"]).seed
    (former,) = settings.keys_dir.glob("Hospital.organisation.former-*.json")
    former.unlink()
    some = [str(path) for path in sorted(shares.iterdir())][:2]
    recover = ("org", "shares", "recover", *some, "--new-passphrase-file", file("restored"))
    commands(*recover, *("--share-passphrase-file", file("wrong")), *officers[2:4], code=8)
    commands(*recover, *officers[:4])
    assert open_organisation_key(former, commands.words["restored"]).seed == keys["sealing key"]
    return keys


def test_canary_of_every_command_about_keys_is_nowhere(tmp_path):
    words = {name: f"{name}-{secrets.token_hex(12)}" for name in WORDS} | {"token": TOKEN, "pin": PIN}
    commands = Commands(tmp_path, words)
    (tmp_path / "searched").mkdir()
    watch = ProcessWatch(Secrets.of({name: word.encode() for name, word in words.items()}))
    with contextlib.ExitStack() as running:
        vault = running.enter_context(VaultSimulator())
        token = None if WHY_NOT else running.enter_context(soft_token())
        if token:
            commands.environment["SOFTHSM2_CONF"] = os.environ["SOFTHSM2_CONF"]
        running.enter_context(watch)
        keys = run_all(commands, vault, token)
        keys |= {f"key {name} of the server": key.versions[0] for name, key in vault.keys.items()}
    searched = Secrets.of({name: word.encode() for name, word in words.items()} | keys)
    assert searched.in_tree(tmp_path / "searched") == {}
    assert watch.found == set()
    assert any(b"rotate-key" in command for command in watch.seen), "the watch saw no command"
    assert len(keys) >= 8
    if WHY_NOT:
        pytest.skip(f"all but the PKCS#11 store: {WHY_NOT}")
