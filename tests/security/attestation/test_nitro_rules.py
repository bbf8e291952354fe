"""AWS Nitro: every rule of document and chain broken once, with a maker of our own whose root the verifier is told to believe."""

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opaque_jobs.attestation.nitro import verify_nitro
from opaque_jobs.attestation.steps import Steps
from opaque_jobs.errors import InvalidInputError, OpaqueJobsError, TrustError
from tests.support.amd_simulator import DAY, NOW, ec_key, rsa_key
from tests.support.nitro_simulator import IMAGE, NitroMaker, at
from tests.support.vectors import NITRO_AT, needs_vectors, read

REAL = "nitro/evervault-valid-attestation-doc.cbor"


def verify(made, *, now=NOW, roots=None):
    raw, believed = made
    return verify_nitro(raw, now=now, steps=Steps(), roots=believed if roots is None else roots)


@pytest.mark.parametrize("tag", [False, True])
def test_document_of_our_maker_holds_tagged_or_not(tag):
    claims = verify(NitroMaker().document(tag=tag))
    assert (claims.pcrs[0], claims.user_data, claims.nonce, claims.issued_at) == (IMAGE, b"\3" * 48, b"", NOW)


CHAINS = {
    "leaf run out": ({"leaf_over": {"not_after": NOW - DAY / 2}}, "enclave.test is not in force"),
    "leaf not yet in force": ({"leaf_over": {"not_before": NOW + DAY / 2}}, "enclave.test is not in force"),
    "zone run out": ({"middle_over": {"not_after": NOW - DAY / 2}}, "zone.test is not in force"),
    "leaf signed by the root": ({"leaf_over": {"signer": ec_key("root")}}, "enclave.test is not signed by zone.test"),
    "zone signed by itself": ({"middle_over": {"signer": ec_key("middle")}}, "zone.test is not signed by root.test"),
    "zone is no CA": ({"middle_over": {"ca": False}}, "zone.test may not sign certificates"),
    "zone may not sign certificates": ({"middle_over": {"usage": ("crl_sign",)}}, "zone.test may not sign certificates"),
    "root may have nothing below": ({"root_over": {"path_length": 0}}, "root.test may not have so long a chain"),
    "leaf names another issuer": ({"leaf_over": {"issuer": "other.test"}}, "enclave.test names another issuer than zone.test"),
    "leaf is a CA": ({"leaf_over": {"ca": True}}, "not a certificate that signs evidence"),
    "leaf may not sign": ({"leaf_over": {"usage": ("key_encipherment",)}}, "not a certificate that signs evidence"),
    "zone with the shorter curve": (
        {"middle_over": {"key": ec_key("p256")}, "leaf_over": {"signer": ec_key("p256")}},
        "enclave.test is not signed by zone.test with ECDSA, SHA-384",
    ),
    "zone with RSA": (
        {"middle_over": {"key": rsa_key("middle")}, "leaf_over": {"signer": rsa_key("middle")}},
        "enclave.test is not signed by zone.test with ECDSA, SHA-384",
    ),
}


@pytest.mark.parametrize("case", CHAINS)
def test_chain_that_breaks_one_rule_is_refused_for_it(case):
    over, problem = CHAINS[case]
    with pytest.raises(TrustError, match=problem):
        verify(NitroMaker(**over).document())


def test_root_that_is_not_pinned_is_refused():
    with pytest.raises(TrustError, match="not pinned"):
        verify(NitroMaker().document(), roots={})


def test_chain_that_names_its_certificates_in_another_order_is_refused():
    ders = NitroMaker().ders()
    raw, believed = NitroMaker().document(ders, cabundle=ders[1::-1])
    with pytest.raises(TrustError, match="not pinned"):
        verify((raw, believed))


@pytest.mark.parametrize("algorithm", [-7, -36, -37, -257, 5, None])
def test_document_that_names_another_algorithm_is_refused(algorithm):
    with pytest.raises(TrustError, match="another signature algorithm"):
        verify(NitroMaker().document(header={1: algorithm}))


@pytest.mark.parametrize("header", [{}, {1: -35, 4: b"kid"}, {1: -35, 33: b"cert"}])
def test_document_with_another_signed_header_is_refused(header):
    with pytest.raises(TrustError, match="another signature algorithm"):
        verify(NitroMaker().document(header=header))


def test_document_with_an_unsigned_header_is_refused():
    with pytest.raises(TrustError, match="not signed"):
        verify(NitroMaker().document(unsigned={1: -35}))


def test_document_signed_by_another_key_is_refused():
    with pytest.raises(TrustError, match="not signed by its certificate"):
        verify(NitroMaker().document(key=ec_key("other")))


def test_document_signed_over_another_header_is_refused():
    with pytest.raises(TrustError, match="not signed by its certificate"):
        verify(NitroMaker().document(signed_as=cbor2.dumps({1: -7})))


def test_document_from_the_future_is_refused():
    with pytest.raises(TrustError, match="after the time given"):
        verify(NitroMaker().document(timestamp=at(NOW + DAY / 100)))


@pytest.mark.parametrize(
    "over",
    [
        {"module_id": ""}, {"module_id": 1}, {"digest": "SHA256"}, {"timestamp": -1}, {"timestamp": 1.5}, {"timestamp": 1 << 60},
        {"timestamp": (1 << 48) - 1},
        {"timestamp": True}, {"pcrs": {}}, {"pcrs": {1: IMAGE}}, {"pcrs": {0: IMAGE, 32: IMAGE}}, {"pcrs": {0: IMAGE[:32]}},
        {"pcrs": {0: IMAGE, 1: "x" * 48}},
        {"pcrs": {0: IMAGE, "1": IMAGE}}, {"pcrs": [IMAGE]}, {"certificate": None}, {"cabundle": []}, {"cabundle": b"x"},
        {"cabundle": [b"x"] * 9}, {"cabundle": ["x"]}, {"user_data": b"x" * 513}, {"nonce": b"x" * 513},
        {"public_key": b"x" * 1025}, {"user_data": "text"}, {"extra": 1}, {"digest": "left out"}, {"pcrs": "left out"},
        {"certificate": b"no certificate"},
    ],
)  # fmt: skip
def test_validly_signed_document_with_another_content_is_refused(over):
    with pytest.raises(InvalidInputError):
        verify(NitroMaker().document(**over))


def test_document_may_leave_out_what_the_enclave_chooses():
    claims = verify(NitroMaker().document(user_data="left out", nonce="left out", public_key="left out"))
    assert (claims.user_data, claims.nonce, claims.public_key) == (b"", b"", b"")


def test_validly_signed_content_with_a_key_twice_is_refused():
    maker = NitroMaker()
    ders = maker.ders()
    content = cbor2.dumps(maker.content(ders))
    doubled = bytes((content[0] + 1,)) + content[1:] + cbor2.dumps("digest") + cbor2.dumps("SHA384")
    with pytest.raises(InvalidInputError, match="well-formed"):
        verify(maker.document(ders, payload=doubled))


def test_bytes_after_a_document_or_its_parts_are_refused():
    raw, believed = NitroMaker().document()
    with pytest.raises(InvalidInputError, match="bytes after"):
        verify((raw + b"\0", believed))
    maker = NitroMaker()
    ders = maker.ders()
    with pytest.raises(InvalidInputError, match="bytes after"):
        verify(maker.document(ders, payload=cbor2.dumps(maker.content(ders)) + b"\0"))


def test_document_with_a_fifth_part_or_a_longer_signature_of_the_same_value_is_refused():
    raw, believed = NitroMaker().document()
    parts = cbor2.loads(raw)
    assert verify((cbor2.dumps(parts), believed)).module_id
    for changed in ([*parts, b""], [*parts[:3], parts[3][:48] + b"\0" + parts[3][48:]], parts[:3]):
        with pytest.raises(InvalidInputError, match="no COSE_Sign1"):
            verify((cbor2.dumps(changed), believed))


def test_document_that_is_too_long_is_refused():
    with pytest.raises(InvalidInputError, match="too long"):
        verify((b"\x84" + b"\0" * (1 << 17), {}))


@needs_vectors
def test_bytes_flipped_in_a_real_document_are_refused():
    """The form's bytes at both ends and a sample of what is signed, since verifying one takes 10 ms; the long mode takes all."""
    size = len(read(REAL))
    flip(sorted({*range(16), *range(0, size, 29), *range(size - 98, size)}))


@needs_vectors
@pytest.mark.long
def test_every_byte_flipped_in_a_real_document_is_refused():
    flip(range(len(read(REAL))))


def flip(places):
    raw = read(REAL)
    for place in places:
        changed = bytearray(raw)
        changed[place] ^= 1 << place % 8
        with pytest.raises(OpaqueJobsError):
            verify_nitro(bytes(changed), now=NITRO_AT, steps=Steps())


@given(st.binary(max_size=400))
def test_any_bytes_give_an_input_error(data):
    with pytest.raises(InvalidInputError):
        verify_nitro(data, now=NOW, steps=Steps())


PROTECTED = cbor2.dumps({1: -35})


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.binary(max_size=20) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=4),
    max_leaves=12,
))  # fmt: skip
def test_any_content_in_a_true_envelope_gives_an_input_error(content):
    with pytest.raises(InvalidInputError):
        verify_nitro(cbor2.dumps([PROTECTED, {}, cbor2.dumps(content), b"\1" * 96]), now=NOW, steps=Steps())
