"""Key stores: how one is found, what its settings may be, and that the conformance test finds what is wrong."""

import base64
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "support"))

from drawer_store import Drawer

from opaque_jobs.crypto.key_files import KeyKind, Place, create_key_file, open_organisation_key, open_signing_key
from opaque_jobs.crypto.key_stores import ENTRY_POINTS, check_key_store, checked_settings, key_store
from opaque_jobs.errors import ConfigurationError, InvalidInputError, TrustError

SECRET, WRONG = "correct horse", "wrong horse battery"


def install(tmp_path, monkeypatch, name, target):
    """Install a package with an entry point, as pip would."""
    info = tmp_path / "drawer-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: drawer\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{ENTRY_POINTS}]\n{name} = {target}\n")
    monkeypatch.syspath_prepend(tmp_path)


def test_file_store_is_sound():
    check_key_store(key_store("file"), secret=SECRET, wrong_secret=WRONG, where={})


@pytest.mark.parametrize("where", [{"address": "x"}, {"": ""}])
def test_settings_that_a_store_does_not_know_are_refused(where):
    with pytest.raises(InvalidInputError):
        checked_settings(key_store("file"), where)


@pytest.mark.parametrize(
    "where", [{}, {"module": "/x"}, {"module": "/x", "token": ""}, {"module": "/x", "token": "t", "pin": "1"}]
)
def test_settings_that_are_missing_or_secret_are_refused(tmp_path, where):
    pytest.importorskip("pkcs11")
    with pytest.raises(InvalidInputError) as caught:
        create_key_file(
            tmp_path / "k.json", kind=KeyKind.MEMBER, owner_id="m", passphrase=SECRET, place=Place(store="pkcs11", where=where)
        )
    assert "module, token" in caught.value.hint


@pytest.mark.parametrize(("name", "needs"), [("pkcs11", "pkcs11"), ("vault", "hvac")])
def test_store_whose_extra_is_not_installed_names_it(monkeypatch, name, needs):
    monkeypatch.setitem(sys.modules, needs, None)
    monkeypatch.delitem(sys.modules, f"opaque_jobs.crypto.key_stores.{name}", raising=False)
    with pytest.raises(ConfigurationError) as caught:
        key_store(name)
    assert f"opaque-jobs[{name}]" in caught.value.hint


def test_store_of_an_installed_package_keeps_keys(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, "drawer", "drawer_store:Drawer")
    place = Place(store="drawer", where={"drawer": "third"})
    for kind, opener in ((KeyKind.MEMBER, open_signing_key), (KeyKind.ORGANISATION, open_organisation_key)):
        path = tmp_path / f"{kind}.json"
        public = create_key_file(path, kind=kind, owner_id="o", passphrase=SECRET, place=place)
        assert opener(path, SECRET).public in {public.signing, public.sealing}
        with pytest.raises(TrustError):
            opener(path, WRONG)


def test_installed_package_cannot_take_the_place_of_a_built_in_store(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, "file", "drawer_store:Drawer")
    assert key_store("file").secret_name == "passphrase"


def test_installed_package_without_a_store_is_named_and_its_text_is_not(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, "drawer", "drawer_store:Broken")
    with pytest.raises(ConfigurationError, match="drawer"):
        key_store("drawer")


class Forgetful(Drawer):
    def reveal(self, secret, held, *, bound_to):
        return b"something else"


class Open(Drawer):
    def reveal(self, secret, held, *, bound_to):
        return bytes(byte ^ 7 for byte in base64.b64decode(held["secret"]))


class Plain(Drawer):
    def protect(self, secret, plain, *, where, label, bound_to):
        return {**super().protect(secret, plain, where=where, label=label, bound_to=bound_to), "note": secret}


class Talkative(Drawer):
    def reveal(self, secret, held, *, bound_to):
        try:
            return super().reveal(secret, held, bound_to=bound_to)
        except TrustError:
            raise TrustError(f"{secret} is wrong", hint="") from None


@pytest.mark.parametrize(
    ("store", "problem"),
    [
        (Forgetful(), "does not give back"),
        (Open(), "opens for another purpose"),
        (Plain(), "keeps a secret"),
        (Talkative(), "tells its secret"),
        (Drawer(), "opens what was changed"),
    ],
)
def test_conformance_finds_what_is_wrong_with_a_store(store, problem):
    with pytest.raises(TrustError, match=problem):
        check_key_store(store, secret=SECRET, wrong_secret=WRONG, where={"drawer": "third"})
