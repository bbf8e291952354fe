"""Signed statements: one form, one key, one purpose."""

import base64
import json

import pytest
from securesystemslib.dsse import Envelope
from securesystemslib.signer import Key

from opaque_jobs.crypto.keys import SigningKey
from opaque_jobs.crypto.signing import PAYLOAD_TYPE, claimed_key_id, sign_statement, verify_statement
from opaque_jobs.domain.canonical import canonical_bytes
from opaque_jobs.errors import InvalidInputError, TrustError

KEY = SigningKey(b"\x05" * 32)
TYPE = "urn:opaque-jobs:approval:v1"
DIGEST = "sha256:" + "ab" * 32


def make_envelope(**over) -> bytes:
    fields = {"predicate_type": TYPE, "subject_name": "job-1", "subject_digest": DIGEST, "predicate": {"n": 1}}
    return sign_statement(over.pop("signer", KEY), **(fields | over))


def resigned(payload: bytes, payload_type: str = PAYLOAD_TYPE) -> bytes:
    """Sign any payload correctly, as a malicious member could."""
    envelope = Envelope(payload, payload_type, {})
    signature = {"keyid": KEY.public.key_id, "sig": base64.b64encode(KEY.sign(envelope.pae())).decode()}
    return canonical_bytes(
        {"payload": base64.b64encode(payload).decode(), "payloadType": payload_type, "signatures": [signature]}
    )


def payload_of(envelope: bytes) -> dict:
    return json.loads(base64.b64decode(json.loads(envelope)["payload"]))


def test_statement_verifies_and_gives_what_was_said():
    statement = verify_statement(make_envelope(), KEY.public, predicate_type=TYPE)
    assert (statement.key_id, statement.subject_digest, statement.subject_name) == (KEY.public.key_id, DIGEST, "job-1")
    assert statement.predicate == {"n": 1}
    assert claimed_key_id(make_envelope()) == KEY.public.key_id


def test_statement_verifies_with_securesystemslib_itself():
    public = {"keyval": {"public": KEY.public.raw.hex()}, "scheme": "ed25519", "keytype": "ed25519"}
    key = Key.from_dict(KEY.public.key_id, public)
    assert Envelope.from_dict(json.loads(make_envelope())).verify([key], 1)


def test_statement_of_another_key_is_refused():
    with pytest.raises(TrustError, match="another key"):
        verify_statement(make_envelope(signer=SigningKey.generate()), KEY.public, predicate_type=TYPE)


def test_statement_that_only_claims_the_key_is_refused():
    document = json.loads(make_envelope(signer=SigningKey.generate()))
    document["signatures"][0]["keyid"] = KEY.public.key_id
    with pytest.raises(TrustError, match="does not hold"):
        verify_statement(canonical_bytes(document), KEY.public, predicate_type=TYPE)


def test_statement_of_another_kind_is_refused():
    with pytest.raises(TrustError, match="kind"):
        verify_statement(make_envelope(predicate_type="urn:opaque-jobs:withdrawal:v1"), KEY.public, predicate_type=TYPE)


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body | {"_type": "https://in-toto.io/Statement/v0.1"},
        lambda body: body | {"extra": 1},
        lambda body: body | {"subject": body["subject"] * 2},
        lambda body: body | {"subject": []},
        lambda body: body | {"predicate": []},
        lambda body: body | {"subject": [{"name": "x", "digest": {"sha256": "AB" * 32}}]},
        lambda body: body | {"subject": [{"name": "x", "digest": {"sha512": "ab" * 32}}]},
        lambda body: body | {"subject": [{"name": 1, "digest": {"sha256": "ab" * 32}}]},
    ],
)
def test_validly_signed_payload_of_another_form_is_refused(change):
    with pytest.raises((TrustError, InvalidInputError)):
        verify_statement(resigned(canonical_bytes(change(payload_of(make_envelope())))), KEY.public, predicate_type=TYPE)


def test_validly_signed_payload_that_is_not_canonical_is_refused():
    payload = json.dumps(payload_of(make_envelope()), indent=1).encode()
    with pytest.raises(InvalidInputError):
        verify_statement(resigned(payload), KEY.public, predicate_type=TYPE)


def test_validly_signed_payload_of_another_payload_type_is_refused():
    with pytest.raises(InvalidInputError):
        verify_statement(resigned(b"{}", "text/plain"), KEY.public, predicate_type=TYPE)


def signatures_changed(change) -> bytes:
    document = json.loads(make_envelope())
    document["signatures"] = change(document["signatures"])
    return canonical_bytes(document)


@pytest.mark.parametrize(
    "change",
    [
        lambda s: [],
        lambda s: s * 2,
        lambda s: [s[0], {"keyid": "x", "sig": s[0]["sig"]}],
        lambda s: [s[0] | {"cert": "x"}],
        lambda s: [{"keyid": s[0]["keyid"], "sig": s[0]["sig"].rstrip("=")}],
        lambda s: [{"keyid": s[0]["keyid"], "sig": ""}],
        lambda s: [{"keyid": None, "sig": s[0]["sig"]}],
        lambda s: s[0],
        lambda s: [{"keyid": s[0]["keyid"], "sig": s[0]["sig"] + "\n"}],
    ],
)
def test_envelope_with_anything_but_one_plain_signature_is_refused(change):
    with pytest.raises(InvalidInputError):
        verify_statement(signatures_changed(change), KEY.public, predicate_type=TYPE)


@pytest.mark.parametrize("garbage", [b"", b"{}", b"null", b"\xff", b'{"payload":1,"payloadType":"x","signatures":[]}'])
def test_something_else_than_an_envelope_is_refused(garbage):
    with pytest.raises(InvalidInputError):
        claimed_key_id(garbage)


@pytest.mark.parametrize("subject", ["ab" * 32, "sha256:ab", "sha256:" + "AB" * 32, "sha512:" + "ab" * 32])
def test_statement_about_a_malformed_digest_is_not_signed(subject):
    with pytest.raises(InvalidInputError):
        make_envelope(subject_digest=subject)
