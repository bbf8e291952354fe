"""Sealed envelopes: only the recipient, only for the purpose."""

import json

import pytest

from opaque_jobs.crypto.keys import SealingKey, SealingPublicKey
from opaque_jobs.crypto.sealing import open_sealed, seal
from opaque_jobs.domain.canonical import canonical_bytes
from opaque_jobs.errors import InvalidInputError, TrustError

KEY = SealingKey(b"\x07" * 32)
INFO = {"what": "result", "run": "run-1"}


def test_x_wing_public_key_matches_the_drafts_vector():
    # draft-connolly-cfrg-xwing-kem, appendix C, first vector
    seed = bytes.fromhex("7f9c2ba4e88f827d616045507605853ed73b8093f6efbc88eb1a6eacfa66ef26")
    public = SealingKey(seed).public.raw.hex()
    assert public.startswith("e2236b35a8c24b39b10aa1323a96a919a2ced88400633a7b07131713fc14b2b5")
    assert len(public) == 2 * 1216


def test_envelope_for_another_recipient_is_refused():
    with pytest.raises(TrustError, match="another key"):
        open_sealed(seal(b"x", KEY.public, INFO), SealingKey.generate(), INFO)


@pytest.mark.parametrize("info", [{}, {"what": "result"}, INFO | {"run": "run-2"}, INFO | {"more": 1}])
def test_envelope_for_another_purpose_is_refused(info):
    with pytest.raises(TrustError, match="purpose"):
        open_sealed(seal(b"x", KEY.public, INFO), KEY, info)


@pytest.mark.parametrize(
    "change",
    [
        {"suite": {"kem": "X25519", "kdf": "HKDF-SHA256", "aead": "AES-256-GCM"}},
        {"suite": {"kem": "X-Wing", "kdf": "HKDF-SHA256", "aead": "AES-128-GCM"}},
        {"v": 2},
    ],
)
def test_envelope_of_another_suite_or_version_is_refused(change):
    document = json.loads(seal(b"x", KEY.public, INFO)) | change
    with pytest.raises(TrustError, match="suite"):
        open_sealed(canonical_bytes(document), KEY, INFO)


def test_recipient_rewritten_by_a_relay_does_not_open():
    document = json.loads(seal(b"x", SealingKey.generate().public, INFO))
    document["recipient"] = KEY.public.key_id
    with pytest.raises(TrustError, match="changed"):
        open_sealed(canonical_bytes(document), KEY, INFO)


def test_info_rewritten_by_a_relay_does_not_open():
    document = json.loads(seal(b"x", KEY.public, INFO | {"run": "run-2"})) | {"info": INFO}
    with pytest.raises(TrustError, match="changed"):
        open_sealed(canonical_bytes(document), KEY, INFO)


@pytest.mark.parametrize("garbage", [b"", b"{}", b"null", b"[1]", b"\xff"])
def test_something_else_than_an_envelope_is_refused(garbage):
    with pytest.raises(InvalidInputError):
        open_sealed(garbage, KEY, INFO)


@pytest.mark.parametrize("raw", [b"", bytes(1215), bytes(1217), b"\xff" * 1216])
def test_public_key_of_a_wrong_form_is_refused(raw):
    with pytest.raises(InvalidInputError):
        SealingPublicKey(raw)


def test_private_key_does_not_show_itself():
    assert "07" not in repr(KEY)
