"""Key files: what opens them, what does not, and what is said about it."""

import base64
import json
import os
from pathlib import Path

import pytest

from opaque_jobs.crypto.key_files import (
    KeyKind,
    create_key_file,
    open_broker_keys,
    open_organisation_key,
    open_signing_key,
    read_public_keys,
    write_new_private_file,
)
from opaque_jobs.crypto.sealing import open_sealed, seal
from opaque_jobs.domain.canonical import canonical_bytes, digest
from opaque_jobs.errors import ConfigurationError, ConflictError, InvalidInputError, NotFoundError, TrustError

PASSPHRASE = "correct horse Ω"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    for kind in KeyKind:
        create_key_file(folder / f"{kind}.json", kind=kind, owner_id=f"{kind}-1", passphrase=PASSPHRASE)
    return folder


def changed(source: Path, target: Path, **fields) -> Path:
    document = json.loads(source.read_bytes()) | fields
    document.pop("check")
    write_new_private_file(target, canonical_bytes({**document, "check": digest(canonical_bytes(document))}))
    return target


def test_member_key_file_opens_and_signs_as_its_public_part_says(folder):
    public = read_public_keys(folder / "member.json")
    key = open_signing_key(folder / "member.json", PASSPHRASE)
    assert (public.kind, public.owner_id, public.sealing) == (KeyKind.MEMBER, "member-1", None)
    public.signing.verify(key.sign(b"data"), b"data")


def test_organisation_key_file_opens_what_was_sealed_to_its_public_part(folder):
    public = read_public_keys(folder / "organisation.json")
    key = open_organisation_key(folder / "organisation.json", PASSPHRASE)
    assert public.signing is None
    assert open_sealed(seal(b"x", public.sealing, {"to": 1}), key, {"to": 1}) == b"x"


def test_broker_key_file_holds_both_keys(folder):
    public = read_public_keys(folder / "broker.json")
    keys = open_broker_keys(folder / "broker.json", PASSPHRASE)
    assert (keys.signing.public, keys.sealing.public) == (public.signing, public.sealing)


def test_passphrase_in_another_unicode_form_opens_too(folder, tmp_path):
    create_key_file(tmp_path / "k.json", kind=KeyKind.MEMBER, owner_id="m", passphrase="Schl\u00fcssel")
    open_signing_key(tmp_path / "k.json", "Schlu\u0308ssel")


def test_wrong_passphrase_is_told_apart_from_damage_and_shown_nowhere(folder):
    with pytest.raises(TrustError, match="passphrase") as caught:
        open_signing_key(folder / "member.json", "wrong horse Ω")
    assert "horse" not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize(
    ("name", "opener"),
    [("organisation", open_signing_key), ("broker", open_organisation_key), ("member", open_broker_keys)],
)
def test_file_of_another_kind_is_named(folder, name, opener):
    with pytest.raises(InvalidInputError, match=f"holds a {name} key"):
        opener(folder / f"{name}.json", PASSPHRASE)


def test_missing_file_is_not_found(tmp_path):
    with pytest.raises(NotFoundError):
        read_public_keys(tmp_path / "none.json")


def test_short_passphrase_is_refused(tmp_path):
    with pytest.raises(InvalidInputError):
        create_key_file(tmp_path / "k.json", kind=KeyKind.MEMBER, owner_id="m", passphrase="1234567")
    assert not list(tmp_path.iterdir())


def test_existing_file_is_never_overwritten(folder):
    before = (folder / "member.json").read_bytes()
    with pytest.raises(ConflictError):
        create_key_file(folder / "member.json", kind=KeyKind.MEMBER, owner_id="m", passphrase=PASSPHRASE)
    assert (folder / "member.json").read_bytes() == before
    assert not list(folder.glob(".*"))


def test_new_file_is_private_whatever_the_umask(folder, tmp_path):
    before = os.umask(0)
    try:
        write_new_private_file(tmp_path / "sub" / "k.json", b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "sub" / "k.json").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "sub").stat().st_mode & 0o777 == 0o700


def test_file_in_a_folder_that_cannot_be_made_gives_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError):
        write_new_private_file(tmp_path / "file" / "k.json", b"x")


def test_file_that_others_may_read_is_refused(folder, tmp_path):
    (tmp_path / "k.json").write_bytes((folder / "member.json").read_bytes())
    (tmp_path / "k.json").chmod(0o644)
    with pytest.raises(ConfigurationError, match="others"):
        open_signing_key(tmp_path / "k.json", PASSPHRASE)


def test_secret_stands_nowhere_in_the_clear(folder):
    raw = (folder / "member.json").read_bytes()
    seed = open_signing_key(folder / "member.json", PASSPHRASE).seed
    assert seed not in raw
    assert base64.b64encode(seed) not in raw
    assert "seed" not in repr(open_signing_key(folder / "member.json", PASSPHRASE))


@pytest.mark.parametrize("cut", [0, 1, 100, -1])
def test_truncated_file_is_damaged(folder, tmp_path, cut):
    write_new_private_file(tmp_path / "k.json", (folder / "member.json").read_bytes()[:cut])
    with pytest.raises(InvalidInputError):
        read_public_keys(tmp_path / "k.json")


@pytest.mark.parametrize("kind", list(KeyKind))
def test_every_flipped_byte_is_noticed(folder, tmp_path, kind):
    whole = (folder / f"{kind}.json").read_bytes()
    path = tmp_path / "k.json"
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises(InvalidInputError):
            read_public_keys(path)


@pytest.mark.parametrize("part", ["salt", "nonce", "secret"])
def test_flipped_byte_of_the_secret_with_a_new_checksum_does_not_open(folder, tmp_path, part):
    held = json.loads((folder / "member.json").read_bytes())["held"]["protected"]
    raw = bytearray(base64.b64decode(held[part]))
    for position in sorted({0, len(raw) // 2, len(raw) - 1}):
        flipped = raw[:position] + bytes([raw[position] ^ 1]) + raw[position + 1 :]
        flipped_held = {"protected": {**held, part: base64.b64encode(flipped).decode()}}
        path = changed(folder / "member.json", tmp_path / f"k{position}.json", held=flipped_held)
        with pytest.raises(TrustError):
            open_signing_key(path, PASSPHRASE)


@pytest.mark.parametrize(
    "fields",
    [
        {"held": "none"},
        {"held": {"kdf": 7}},
        {"store": 7},
        {"v": 1},
        {"kind": "admin"},
        {"kind": "broker"},
        {"public": {}},
        {"extra": 1},
    ],
)
def test_header_that_asks_for_something_else_is_refused(folder, tmp_path, fields):
    path = changed(folder / "member.json", tmp_path / "k.json", **fields)
    with pytest.raises(InvalidInputError):
        read_public_keys(path)


@pytest.mark.parametrize(
    "fields", [{"kdf": "scrypt n=1024 r=8 p=1"}, {"kdf": f"scrypt n={2**30} r=8 p=1"}, {"cipher": "none"}, {"more": ""}]
)
def test_file_that_asks_for_another_cost_or_cipher_is_not_opened(folder, tmp_path, fields):
    held = json.loads((folder / "member.json").read_bytes())["held"]["protected"]
    path = changed(folder / "member.json", tmp_path / "k.json", held={"protected": held | fields})
    with pytest.raises(InvalidInputError):
        open_signing_key(path, PASSPHRASE)


def test_file_of_a_key_store_that_is_not_known_says_which_are(folder, tmp_path):
    path = changed(folder / "member.json", tmp_path / "k.json", store="cloud")
    with pytest.raises(InvalidInputError) as caught:
        open_signing_key(path, PASSPHRASE)
    assert "pkcs11" in caught.value.hint


@pytest.mark.parametrize("field", ["owner_id", "public", "held"])
def test_header_changed_with_a_new_checksum_does_not_open(folder, tmp_path, field):
    other = create_key_file(tmp_path / "other.json", kind=KeyKind.MEMBER, owner_id="other", passphrase=PASSPHRASE)
    assert other.owner_id == "other"
    value = json.loads((tmp_path / "other.json").read_bytes())[field]
    path = changed(folder / "member.json", tmp_path / "k.json", **{field: value})
    with pytest.raises(TrustError):
        open_signing_key(path, PASSPHRASE)
