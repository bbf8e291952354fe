"""The PKCS#11 key store on a real SoftHSM token."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from soft_token import OTHER_PIN, PIN

from opaque_jobs.broker.release import Sealed
from opaque_jobs.crypto.key_files import (
    KeyKind,
    Place,
    create_key_file,
    key_secret_name,
    open_broker_keys,
    open_organisation_key,
    open_signing_key,
    read_public_keys,
)
from opaque_jobs.crypto.key_stores import check_key_store, key_store
from opaque_jobs.crypto.release import verify_release
from opaque_jobs.crypto.sealing import open_sealed, seal
from opaque_jobs.domain.canonical import canonical_bytes, digest
from opaque_jobs.errors import ConfigurationError, InvalidInputError, NotFoundError, TrustError
from tests.support.broker_stage import Stage


def make(path: Path, where: dict[str, str], kind: KeyKind = KeyKind.MEMBER, pin: str = PIN):
    return create_key_file(path, kind=kind, owner_id="owner-1", passphrase=pin, place=Place(store="pkcs11", where=where))


def test_token_store_is_sound(token):
    check_key_store(key_store("pkcs11"), secret=PIN, wrong_secret=OTHER_PIN, where=token)


def test_member_key_on_a_token_signs_and_its_file_holds_no_secret(token, tmp_path):
    public = make(tmp_path / "k.json", token)
    signer = open_signing_key(tmp_path / "k.json", PIN)
    public.signing.verify(signer.sign(b"data"), b"data")
    assert key_secret_name(tmp_path / "k.json") == "PIN"
    assert not hasattr(signer, "seed")
    assert PIN not in repr(signer) + (tmp_path / "k.json").read_text()


def test_member_key_cannot_be_taken_from_its_token(token, tmp_path):
    import pkcs11

    make(tmp_path / "k.json", token)
    with pkcs11.lib(token["module"]).get_token(token_label=token["token"]).open(user_pin=PIN) as session:
        keys = list(session.get_objects({pkcs11.Attribute.CLASS: pkcs11.ObjectClass.PRIVATE_KEY}))
        assert keys
        for key in keys:
            assert (key[pkcs11.Attribute.SENSITIVE], key[pkcs11.Attribute.EXTRACTABLE]) == (True, False)


def test_sealing_keys_under_a_token_open_what_was_sealed(token, tmp_path):
    public = make(tmp_path / "o.json", token, KeyKind.ORGANISATION)
    key = open_organisation_key(tmp_path / "o.json", PIN)
    assert open_sealed(seal(b"x", public.sealing, {}), key, {}) == b"x"
    broker = make(tmp_path / "b.json", token, KeyKind.BROKER)
    keys = open_broker_keys(tmp_path / "b.json", PIN)
    assert (keys.sealing.public, keys.signing.public) == (broker.sealing, broker.signing)


def rewritten(path: Path, **changes: object) -> Path:
    """Change fields of a key file, with a checksum that fits."""
    document = json.loads(path.read_bytes()) | changes
    body = {name: value for name, value in document.items() if name != "check"}
    path.write_bytes(canonical_bytes({**body, "check": digest(canonical_bytes(body))}))
    return path


def test_broker_signs_on_its_token_and_its_file_holds_no_signing_key(token, tmp_path):
    made = make(tmp_path / "b.json", token, KeyKind.BROKER)
    keys = open_broker_keys(tmp_path / "b.json", PIN)
    made.signing.verify(keys.signing.sign(b"data"), b"data")
    assert not hasattr(keys.signing, "seed")
    with pytest.raises(InvalidInputError, match="never leaves"):
        _ = keys.signing_seed
    held = json.loads((tmp_path / "b.json").read_bytes())["held"]
    assert set(held["inside"]) == {"module", "token", "key"}


def test_broker_on_a_token_releases_and_after_a_restart_again(token, tmp_path):
    made = make(tmp_path / "b.json", token, KeyKind.BROKER)
    stage = Stage(tmp_path / "broker", keys=open_broker_keys(tmp_path / "b.json", PIN))
    stage.deposit()
    stage.share()
    assert isinstance(stage.run(stage.enclave("run-1")), Sealed)
    stage.world.clock.forward(60)
    stage.world.hospital.broker = open_broker_keys(tmp_path / "b.json", PIN)
    stage.restart()
    session, _ = stage.attest(stage.enclave("run-2"))
    said = stage.broker.release(session, workspace_id="ws-1", dataset_id=stage.world.hospital.dataset_id, version=1)
    _, release = verify_release(said.statement, made.signing, organisation_id=stage.world.hospital.id)
    assert release.run_id == "run-2"
    assert isinstance(stage.release(session), Sealed)


def test_broker_whose_file_names_another_signing_key_of_the_token_is_refused(token, tmp_path):
    make(tmp_path / "b.json", token, KeyKind.BROKER)
    public, held = key_store("pkcs11").make_signing_key(PIN, where=token, label="thief")
    document = json.loads((tmp_path / "b.json").read_bytes())
    rewritten(
        tmp_path / "b.json",
        public={**document["public"], "ed25519": public.text},
        held={**document["held"], "inside": held},
    )
    with pytest.raises(TrustError, match="changed"):
        open_broker_keys(tmp_path / "b.json", PIN)


@pytest.mark.parametrize("part", ["inside", "protected"])
def test_broker_without_its_token_says_that_there_is_none(token, tmp_path, part):
    make(tmp_path / "b.json", token, KeyKind.BROKER)
    held = json.loads((tmp_path / "b.json").read_bytes())["held"]
    rewritten(tmp_path / "b.json", held={**held, part: {**held[part], "token": "unplugged"}})
    with pytest.raises(NotFoundError, match="token of this label"):
        open_broker_keys(tmp_path / "b.json", PIN)


@pytest.mark.parametrize("part", ["inside", "protected"])
def test_broker_file_without_a_part_is_refused(token, tmp_path, part):
    make(tmp_path / "b.json", token, KeyKind.BROKER)
    held = json.loads((tmp_path / "b.json").read_bytes())["held"]
    rewritten(tmp_path / "b.json", held={name: each for name, each in held.items() if name != part})
    with pytest.raises(InvalidInputError, match="where each of its keys"):
        open_broker_keys(tmp_path / "b.json", PIN)


def test_token_signs_for_several_threads_at_once(token, tmp_path):
    """A broker answers in threads; a token's log-in is the whole process's."""
    make(tmp_path / "b.json", token, KeyKind.BROKER)
    signer = open_broker_keys(tmp_path / "b.json", PIN).signing
    said = [b"%d" % number for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        for data, signature in zip(said, pool.map(signer.sign, said), strict=True):
            signer.public.verify(signature, data)


OPENERS = {
    KeyKind.MEMBER: open_signing_key,
    KeyKind.ORGANISATION: open_organisation_key,
    KeyKind.BROKER: open_broker_keys,
}


@pytest.mark.parametrize("kind", list(KeyKind))
def test_wrong_pin_is_refused_and_shown_nowhere(token, tmp_path, kind):
    make(tmp_path / "k.json", token, kind)
    opener = OPENERS[kind]
    with pytest.raises(TrustError, match="PIN") as caught:
        opener(tmp_path / "k.json", OTHER_PIN)
    assert OTHER_PIN not in f"{caught.value.message}{caught.value.hint}{caught.value.facts}"
    opener(tmp_path / "k.json", PIN)


def test_wrong_pin_makes_no_key_file(token, tmp_path):
    with pytest.raises(TrustError):
        make(tmp_path / "k.json", token, pin=OTHER_PIN)
    assert not list(tmp_path.iterdir())


def test_key_file_that_names_another_key_of_the_token_is_refused(token, tmp_path):
    one, other = key_store("pkcs11").make_signing_key(PIN, where=token, label="one"), make(tmp_path / "k.json", token)
    with pytest.raises(TrustError, match="another key"):
        key_store("pkcs11").signer(PIN, one[1], public=other.signing)


@pytest.mark.parametrize("name", ["token", "key"])
def test_token_or_key_that_is_not_there_is_not_found(token, name):
    public, held = key_store("pkcs11").make_signing_key(PIN, where=token, label="here")
    with pytest.raises(NotFoundError):
        key_store("pkcs11").signer(PIN, {**held, name: "elsewhere"}, public=public)


def test_module_that_others_could_change_is_not_loaded(token, tmp_path):
    module = tmp_path / "module.so"
    shutil.copy(token["module"], module)
    module.chmod(0o666)
    with pytest.raises(ConfigurationError, match="module"):
        make(tmp_path / "k.json", {**token, "module": str(module)})
    module.chmod(0o600)
    tmp_path.chmod(0o777)
    with pytest.raises(ConfigurationError, match="module"):
        make(tmp_path / "k.json", {**token, "module": str(module)})


@pytest.mark.parametrize("module", ["libsofthsm2.so", "/nowhere/module.so", "/etc/hostname"])
def test_module_that_is_none_is_refused_in_a_sentence(token, tmp_path, module):
    with pytest.raises(ConfigurationError) as caught:
        make(tmp_path / "k.json", {**token, "module": module})
    assert caught.value.hint


def test_every_flipped_byte_of_a_token_key_file_is_refused(token, tmp_path):
    make(tmp_path / "k.json", token)
    whole = (tmp_path / "k.json").read_bytes()
    for position in range(len(whole)):
        (tmp_path / "k.json").write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises(Exception, match="key file") as caught:
            read_public_keys(tmp_path / "k.json")
        assert caught.type.__module__ == "opaque_jobs.errors"
