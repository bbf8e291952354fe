"""The Vault key store against a simulator of the documented HTTP API, over real sockets."""

import base64

import pytest
from vault_simulator import MOUNT, TOKEN, VaultSimulator

from opaque_jobs.crypto.key_files import (
    KeyKind,
    Place,
    create_key_file,
    key_secret_name,
    open_broker_keys,
    open_organisation_key,
    open_signing_key,
)
from opaque_jobs.crypto.key_stores import check_key_store, key_store
from opaque_jobs.crypto.keys import SigningKey
from opaque_jobs.crypto.sealing import open_sealed, seal
from opaque_jobs.errors import ConfigurationError, DeniedError, InvalidInputError, NotFoundError, TrustError


def where(vault: VaultSimulator, **more: str) -> dict[str, str]:
    return {"address": vault.address, **more}


def make(path, vault, kind=KeyKind.MEMBER, token=TOKEN):
    return create_key_file(path, kind=kind, owner_id="owner-1", passphrase=token, place=Place(store="vault", where=where(vault)))


@pytest.fixture
def made(vault, tmp_path):
    make(tmp_path / "k.json", vault)
    return tmp_path / "k.json"


def test_vault_store_is_sound(vault):
    check_key_store(key_store("vault"), secret=TOKEN, wrong_secret="hvs.another-token", where=where(vault))


def test_member_key_in_vault_signs_and_its_file_holds_no_secret(vault, made):
    signer = open_signing_key(made, TOKEN)
    data = b"a statement"
    signer.public.verify(signer.sign(data), data)
    assert key_secret_name(made) == "token"
    assert TOKEN not in repr(signer) + made.read_text()


def test_sealing_keys_under_vault_open_what_was_sealed(vault, tmp_path):
    public = make(tmp_path / "o.json", vault, KeyKind.ORGANISATION)
    key = open_organisation_key(tmp_path / "o.json", TOKEN)
    assert open_sealed(seal(b"x", public.sealing, {}), key, {}) == b"x"
    broker = make(tmp_path / "b.json", vault, KeyKind.BROKER)
    assert open_broker_keys(tmp_path / "b.json", TOKEN).signing.public == broker.signing


def test_key_rotated_on_the_server_still_signs_with_the_version_that_was_registered(vault, made):
    (name,) = vault.keys
    vault.answer("POST", f"/v1/{MOUNT}/keys/{name}/rotate", TOKEN, {})
    signer = open_signing_key(made, TOKEN)
    signer.public.verify(signer.sign(b"x"), b"x")


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda vault: vault.tokens.update({TOKEN: False}), DeniedError),
        (lambda vault: vault.denied.add("sign"), DeniedError),
        (lambda vault: setattr(vault, "sealed", True), ConfigurationError),
        (lambda vault: vault.keys.clear(), ConfigurationError),
        (lambda vault: vault.lies.update(sign={"data": {}}), TrustError),
        (lambda vault: vault.lies.update(sign=[]), TrustError),
        (lambda vault: vault.lies.update(sign={"data": {"signature": "vault:v2:AAAA"}}), TrustError),
        (
            lambda vault: vault.lies.update(
                sign={"data": {"signature": "vault:v1:" + base64.b64encode(SigningKey.generate().sign(b"x")).decode()}}
            ),
            TrustError,
        ),
    ],
)
def test_signing_refused_or_answered_falsely_gives_one_of_our_errors(vault, made, change, error):
    signer = open_signing_key(made, TOKEN)
    change(vault)
    with pytest.raises(error) as caught:
        signer.sign(b"x")
    said = f"{caught.value.message}{caught.value.hint}{caught.value.facts}"
    assert caught.value.hint
    assert TOKEN not in said
    assert "127.0.0.1" not in said


def test_key_that_is_gone_is_not_found(vault, made):
    vault.keys.clear()
    with pytest.raises(NotFoundError):
        open_signing_key(made, TOKEN)


def test_key_of_another_public_half_is_refused(vault, made):
    (name,) = vault.keys
    vault.keys[name].versions[0] = SigningKey.generate().seed
    with pytest.raises(TrustError, match="another key"):
        open_signing_key(made, TOKEN)


def test_server_that_is_away_is_a_configuration_error(tmp_path):
    with VaultSimulator() as vault:
        make(tmp_path / "k.json", vault)
    with pytest.raises(ConfigurationError):
        open_signing_key(tmp_path / "k.json", TOKEN)


@pytest.mark.parametrize(
    "address",
    [
        "http://vault.example:8200",
        "ftp://127.0.0.1",
        "https://user:word@vault.example",
        "https://",
        "127.0.0.1:8200",
        "http://127.0.0.1.example:8200",
        "https://vault.example/?x=1",
    ],
)
def test_address_that_could_give_the_token_away_is_refused(tmp_path, address):
    with pytest.raises(InvalidInputError):
        create_key_file(
            tmp_path / "k.json",
            kind=KeyKind.MEMBER,
            owner_id="m",
            passphrase=TOKEN,
            place=Place(store="vault", where={"address": address}),
        )


def test_token_follows_no_redirect_and_no_proxy_of_the_environment(vault, made, monkeypatch):
    with VaultSimulator() as other:
        monkeypatch.setenv("HTTP_PROXY", other.address)
        monkeypatch.setenv("http_proxy", other.address)
        monkeypatch.setenv("no_proxy", "")
        open_signing_key(made, TOKEN)
        vault.redirect_to = other.address
        with pytest.raises((ConfigurationError, TrustError)):
            open_signing_key(made, TOKEN)
        assert other.requests == []


def test_token_of_the_environment_is_not_used(vault, made, monkeypatch):
    monkeypatch.setenv("VAULT_TOKEN", TOKEN)
    with pytest.raises(DeniedError):
        open_signing_key(made, "hvs.another-token")
    assert {headers.get("X-Vault-Token") for _, _, headers in vault.requests[-1:]} == {"hvs.another-token"}


def test_protected_key_answered_in_another_version_is_refused_before_it_is_written(vault, tmp_path):
    vault.lies["encrypt"] = {"data": {"ciphertext": "vault:v2:AAAA"}}
    with pytest.raises(TrustError):
        make(tmp_path / "o.json", vault, KeyKind.ORGANISATION)
    assert not list(tmp_path.iterdir())
