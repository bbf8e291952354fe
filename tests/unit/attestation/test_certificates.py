"""Certificates: two libraries read the same, and a test that shouts when the first one stops reading AMD's."""

import warnings

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from opaque_jobs.attestation.certificates import (
    ECDSA_SHA256,
    ECDSA_SHA384,
    RSA_PSS_SHA384,
    by_asn1crypto,
    by_cryptography,
    integer,
    octets,
    parse_certificate,
    parse_certificates,
    parse_crl,
    pem_text,
    text,
)
from opaque_jobs.attestation.chain import is_signed
from opaque_jobs.errors import InvalidInputError
from tests.support.amd_simulator import DAY, NOW, AmdMaker, ec_key, make_certificate, make_crl, rsa_key
from tests.support.vectors import GOOGLE, PHALA, VCEK, VLEK, needs_vectors, pieces


def both(der):
    with warnings.catch_warnings(action="ignore"):
        return by_cryptography(der), by_asn1crypto(der)


@pytest.mark.parametrize("place", range(3))
def test_both_libraries_read_a_certificate_alike(place):
    first, second = both(AmdMaker().ders()[place])
    assert first == second


@needs_vectors
@pytest.mark.parametrize("names", [VCEK, VLEK, PHALA])
def test_both_libraries_read_real_certificates_alike(names):
    for certificate in pieces(*names).certificates:
        first, second = both(certificate.der)
        assert first == second


def test_certificate_with_serial_number_zero_is_still_read_by_the_first_library():
    """AMD's have it. If this fails, `cryptography` has begun to refuse them: keep its upper bound, or rely on the second."""
    der = AmdMaker().ders()[0]
    with pytest.warns(Warning, match="serial number"):
        x509.load_der_x509_certificate(der).serial_number  # noqa: B018 - the reading is what is tested
    assert by_asn1crypto(der).serial == 0
    assert parse_certificate(der).serial == 0


@pytest.mark.parametrize(
    ("key", "salt", "algorithm"), [(rsa_key, 48, RSA_PSS_SHA384), (rsa_key, 32, ""), (ec_key, 48, ECDSA_SHA384)]
)
def test_signature_algorithm_is_told_by_all_its_parameters(key, salt, algorithm):
    der = make_certificate("a", "b", key=ec_key("leaf"), signer=key("root"), salt=salt)
    assert [each.algorithm for each in both(der)] == [algorithm, algorithm]


@needs_vectors
def test_intels_certificates_are_signed_with_the_shorter_curve():
    assert {each.algorithm for each in pieces(*PHALA).certificates} == {ECDSA_SHA256}


SIGNERS = {"rsa": rsa_key("root"), "short": rsa_key("short"), "secp384r1": ec_key("leaf"), "secp256r1": ec_key("p256")}
HASHES = {ECDSA_SHA256: hashes.SHA256(), ECDSA_SHA384: hashes.SHA384(), RSA_PSS_SHA384: hashes.SHA384()}


@pytest.mark.parametrize("algorithm", HASHES)
@pytest.mark.parametrize("name", SIGNERS)
def test_signature_holds_only_by_the_algorithm_of_its_key(name, algorithm):
    """Each signature is a true one of its key, over the hash that the algorithm names."""
    key, digest = SIGNERS[name], HASHES[algorithm]
    issuer = parse_certificate(make_certificate("a", "a", key=key, signer=key))
    pss = padding.PSS(padding.MGF1(digest), 48)
    signature = key.sign(b"data", pss, digest) if name in {"rsa", "short"} else key.sign(b"data", ec.ECDSA(digest))
    fits = (name, algorithm) in {("rsa", RSA_PSS_SHA384), ("secp384r1", ECDSA_SHA384), ("secp256r1", ECDSA_SHA256)}
    assert is_signed(issuer=issuer, signature=signature, data=b"data", algorithm=algorithm) is fits
    assert not is_signed(issuer=issuer, signature=signature, data=b"other", algorithm=algorithm)


def test_certificates_come_as_pem_der_or_several_in_one_file():
    ders = AmdMaker().ders()
    assert [each.der for each in parse_certificates(pem_text(ders).encode())] == list(ders)
    assert [each.der for each in parse_certificates(b"\n" + pem_text(ders[:1]).replace("\n", "\r\n").encode())] == [ders[0]]
    assert parse_certificates(ders[1])[0].der == ders[1]


@pytest.mark.parametrize(
    "data",
    [
        b"", b"x", b"-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n", b"0" * (1 << 17),
        b"-----BEGIN CERTIFICATE-----\nMA==\n",
        b"-----BEGIN PRIVATE KEY-----\nMA==\n-----END PRIVATE KEY-----\n", b"\x30\x80\x00\x00",
    ],
)  # fmt: skip
def test_something_else_than_a_certificate_is_refused(data):
    with pytest.raises(InvalidInputError):
        parse_certificates(data)


@given(st.binary(max_size=300))
def test_any_bytes_give_an_answer_or_an_input_error(data):
    for parse in (parse_certificates, parse_crl):
        try:
            parse(data)
        except InvalidInputError:
            continue


@given(at=st.integers(min_value=0, max_value=1500), value=st.integers(min_value=0, max_value=255), cut=st.integers(0, 1500))
def test_any_change_of_a_certificate_gives_an_answer_or_an_input_error(at, value, cut):
    der = bytearray(DER)
    der[at % len(der)] = value
    for data in (bytes(der), DER[: cut % len(DER)]):
        try:
            parse_certificate(data)
        except InvalidInputError:
            continue


DER = AmdMaker().ders()[0]


LEVEL_1, LEVEL_2 = (b"\x9c\x78\x01\x03" + bytes((number,)) for number in (1, 2))
PLAIN = make_certificate("a", "b", key=ec_key("leaf"), signer=ec_key("root"))
SHA384_OID, SHA512_OID = bytes.fromhex("06082a8648ce3d040303"), bytes.fromhex("06082a8648ce3d040304")
STRANGE = {
    "an extension twice": DER.replace(LEVEL_2, LEVEL_1),
    "an unknown version": DER.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x07"),
    "two signature algorithms": SHA512_OID.join(PLAIN.rsplit(SHA384_OID, 1)),
    "an unused bit in its signature": PLAIN[: PLAIN.rindex(b"\x00\x30")] + b"\x01" + PLAIN[PLAIN.rindex(b"\x00\x30") + 1 :],
    "something behind it": DER + b"\0",
}


LONGER = {"2.5.29.19": b"\x30\x03\x01\x01\xff", "2.5.29.15": b"\x03\x02\x05\xa0"}


@pytest.mark.parametrize("oid", LONGER)
def test_certificate_with_something_behind_what_an_extension_says_is_refused(oid):
    plain, longer = (
        make_certificate("a", "b", key=ec_key("leaf"), signer=ec_key("root"), extensions={oid: LONGER[oid] + more})
        for more in (b"", b"\0")
    )
    read = parse_certificate(plain)
    assert (read.ca, read.key_usage is None, read.extensions) == (oid == "2.5.29.19", oid == "2.5.29.19", {})
    with pytest.raises(InvalidInputError):
        parse_certificate(longer)


def test_certificate_that_says_that_it_may_not_sign_others_may_not():
    der = make_certificate("a", "b", key=ec_key("leaf"), signer=ec_key("root"), extensions={"2.5.29.19": b"\x30\x00"})
    assert [each.ca for each in both(der)] == [False, False]


def test_certificate_in_der_is_not_taken_for_pem_by_words_in_it():
    der = make_certificate("-----BEGIN CERTIFICATE-----", "b", key=ec_key("leaf"), signer=ec_key("root"))
    assert parse_certificates(der)[0].common_name == "-----BEGIN CERTIFICATE-----"


@pytest.mark.parametrize("names", [(), ("a", "b")])
def test_certificate_that_has_not_one_common_name_has_none(names):
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, each) for each in names])
    key = ec_key("leaf")
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), 7, NOW - DAY, NOW + DAY)
    first, second = both(builder.sign(key, hashes.SHA384()).public_bytes(Encoding.DER))
    assert (first, first.common_name) == (second, "")


@pytest.mark.parametrize(("digest", "mask"), [(hashes.SHA384(), hashes.SHA256()), (hashes.SHA256(), hashes.SHA384())])
def test_signature_with_two_hashes_is_by_no_known_algorithm(digest, mask):
    key, name = rsa_key("root"), x509.Name([])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 7, NOW - DAY, NOW + DAY)
    signed = builder.sign(key, digest, rsa_padding=padding.PSS(padding.MGF1(mask), 48)).public_bytes(Encoding.DER)
    assert [each.algorithm for each in both(signed)] == ["", ""]


def test_revocation_list_whose_issuer_cannot_be_read_is_refused():
    crl = make_crl("ARK-Milan", signer=rsa_key("root")).public_bytes(Encoding.DER)
    with pytest.raises(InvalidInputError):
        parse_crl(crl.replace(b"ARK-Milan", b"\xff" * 9))


@pytest.mark.parametrize("what", STRANGE)
def test_certificate_of_a_form_that_nobody_signed_or_can_mean_two_things_is_refused(what):
    assert STRANGE[what] not in {DER, PLAIN}
    with pytest.raises(InvalidInputError):
        parse_certificate(STRANGE[what])


def test_pem_file_with_something_else_beside_or_around_a_certificate_is_refused():
    whole = pem_text([DER])
    for file in (whole.replace("CERTIFICATE", "PRIVATE KEY"), whole + whole.replace("CERTIFICATE", "X509 CRL")):
        with pytest.raises(InvalidInputError, match="something else than certificates"):
            parse_certificates(file.encode())


def test_certificate_that_is_too_long_is_not_read():
    with pytest.raises(InvalidInputError, match="does not parse"):
        parse_certificate(bytes(1 << 16))
    with pytest.raises(InvalidInputError, match="too long"):
        parse_certificate(bytes((1 << 16) + 1))


NUMBERS = [
    b"", b"\x02\x01", b"\x03\x01\x05", b"\x02\x02\x05", b"\x02\x01\x80", b"\x02\x02\x01\x00", b"\x02\x01\x05\x05",
    b"\x02\x03\0\0\5",
]  # fmt: skip
TEXTS = [b"\x16\x00", b"\x13\x01a", b"\x16\x02a", b"\x16\x01ab", b"\x0c\x02\xc3\xbc", b"\x16\x81" + b"a" * 129]


def test_values_of_a_makers_extensions_have_one_form():
    assert [integer(value) for value in (b"\x02\x01\x00", b"\x02\x01\x7f", b"\x02\x02\x00\xff")] == [0, 127, 255]
    assert octets(b"12345678", 8) == octets(b"\x04\x0812345678", 8) == b"12345678"
    assert octets(b"\x04\x08123456", 8) == b"\x04\x08123456"
    assert text(b"\x16\x02ab") == text(b"\x0c\x02ab") == "ab"
    assert [text(bytes((0x16, size)) + b"a" * size) for size in (1, 127)] == ["a", "a" * 127]
    ids = [b"", b"1234567", b"123456789", b"\x03\x0812345678", b"\x04\x0712345678", b"\x04\x0912345678"]
    wrong = [(integer, NUMBERS), (lambda value: octets(value, 8), ids), (text, TEXTS)]
    for read, values in wrong:
        for value in values:
            with pytest.raises(InvalidInputError):
                read(value)


def test_revocation_list_comes_as_pem_or_der():
    crl = make_crl("ARK-Milan", signer=rsa_key("root"))
    for encoding in (Encoding.DER, Encoding.PEM):
        assert parse_crl(crl.public_bytes(encoding)) == crl


@needs_vectors
def test_pieces_of_google_are_sorted_by_their_content():
    found = pieces(*GOOGLE)
    assert (len(found.certificates), len(found.crls), sorted(found.documents)) == (0, 2, ["qe_identity", "tcb_info"])
