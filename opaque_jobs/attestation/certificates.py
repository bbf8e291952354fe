"""Certificates of hardware makers, read strictly by one of two libraries.

`cryptography` reads first. AMD's certificates have serial number 0, which RFC 5280 forbids: the library warns today and will
refuse one day, so `asn1crypto` stands behind it and gives the same value. WebPKI verifiers (`cryptography.x509.verification`)
do not know these chains: see `chain`.
"""

import base64
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, Final

from asn1crypto import core, pem
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from opaque_jobs.errors import InvalidInputError

__all__ = [
    "CERTIFICATE", "ECDSA_SHA256", "ECDSA_SHA384", "REVOCATION_LIST", "RSA_PSS_SHA384", "Certificate", "integer", "is_pem",
    "octets", "parse_certificate", "parse_certificates", "parse_crl", "pem_blocks", "pem_text", "text",
]  # fmt: skip

CERTIFICATE: Final = "CERTIFICATE"
REVOCATION_LIST: Final = "X509 CRL"
"""Labels of PEM blocks."""
RSA_PSS_SHA384: Final = "RSA-PSS, SHA-384, salt 48"
ECDSA_SHA256: Final = "ECDSA, SHA-256"
ECDSA_SHA384: Final = "ECDSA, SHA-384"
_ECDSA: Final = {"1.2.840.10045.4.3.2": ECDSA_SHA256, "1.2.840.10045.4.3.3": ECDSA_SHA384}
_PSS_OID: Final = "1.2.840.113549.1.1.10"
_BASIC_CONSTRAINTS: Final = "2.5.29.19"
_KEY_USAGE: Final = "2.5.29.15"
_UNDERSTOOD: Final = frozenset({_BASIC_CONSTRAINTS, _KEY_USAGE})
_PRIVATE: Final = "1.3.6.1.4.1."
_MAX_BYTES: Final = 1 << 16
_FIRST_REFUSES: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
_SECOND_REFUSES: Final = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError)
"""What the libraries are seen to raise for bytes that are no certificate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """One certificate, parsed; nothing about it is verified.

    Args:
        der: All of it.
        tbs: What is signed.
        signature: Over `tbs`.
        algorithm: One of this module's names; empty if it is none of them.
        public_key: SubjectPublicKeyInfo.
        serial: Serial number.
        subject: DER of the name.
        issuer: DER of the name.
        common_name: Of the subject.
        not_before: UTC.
        not_after: UTC.
        ca: Basic constraints say that it may sign certificates.
        path_length: Of the basic constraints.
        key_usage: None if it does not say.
        strange: It has a critical extension that is not understood here.
        extensions: OID -> value, of the maker's own extensions.
    """

    der: bytes
    tbs: bytes
    signature: bytes
    algorithm: str
    public_key: bytes
    serial: int
    subject: bytes
    issuer: bytes
    common_name: str
    not_before: datetime
    not_after: datetime
    ca: bool
    path_length: int | None
    key_usage: frozenset[str] | None
    strange: bool
    extensions: Mapping[str, bytes]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the DER."""
        return sha256(self.der).hexdigest()


def parse_certificate(der: bytes) -> Certificate:
    """Read one DER certificate.

    Raises:
        InvalidInputError: It is none.
    """
    if len(der) > _MAX_BYTES:
        raise InvalidInputError("a certificate is too long", hint="was the right file given?", limit_bytes=_MAX_BYTES)
    try:
        with warnings.catch_warnings(action="ignore"):
            return by_cryptography(der)
    except _FIRST_REFUSES:
        pass
    try:
        return by_asn1crypto(der)
    except _SECOND_REFUSES:
        raise InvalidInputError("a certificate does not parse", hint="give it as PEM or DER") from None


def parse_certificates(data: bytes) -> tuple[Certificate, ...]:
    """Read one DER certificate, or any number of PEM ones.

    Raises:
        InvalidInputError: There is something else.
    """
    if not is_pem(data):
        return (parse_certificate(data),)
    blocks = pem_blocks(data)
    if any(label != CERTIFICATE for label, _ in blocks):
        raise InvalidInputError("a PEM file holds something else than certificates", hint="give certificates only")
    return tuple(parse_certificate(der) for _, der in blocks)


def is_pem(data: bytes) -> bool:
    """Tell whether bytes are PEM; tools write words of their own above a block."""
    return b"-----BEGIN " in data and data.isascii()


def pem_blocks(data: bytes) -> list[tuple[str, bytes]]:
    """Give label and content of every PEM block.

    Raises:
        InvalidInputError: There is none, or one is damaged.
    """
    try:
        blocks = [(str(label), der) for label, _, der in pem.unarmor(data, multiple=True)]
    except (ValueError, TypeError):
        blocks = []
    if not blocks:
        raise InvalidInputError("a PEM file does not parse", hint="was the file damaged?")
    return blocks


def pem_text(ders: Sequence[bytes]) -> str:
    """Write certificates as the makers' libraries do: 64 characters a line, nothing between them."""
    blocks = ("\n".join(textwrap.wrap(base64.b64encode(der).decode("ascii"), 64)) for der in ders)
    return "".join(f"-----BEGIN CERTIFICATE-----\n{block}\n-----END CERTIFICATE-----\n" for block in blocks)


def parse_crl(data: bytes) -> x509.CertificateRevocationList:
    """Read a revocation list, DER or PEM.

    Raises:
        InvalidInputError: It is none.
    """
    try:
        with warnings.catch_warnings(action="ignore"):
            found = x509.load_pem_x509_crl(data) if data.startswith(b"-----BEGIN") else x509.load_der_x509_crl(data)
            found.issuer.public_bytes()  # the library reads names only when they are asked for
    except _FIRST_REFUSES:
        raise InvalidInputError("a revocation list does not parse", hint="give it as PEM or DER") from None
    return found


def by_cryptography(der: bytes) -> Certificate:
    """Read with the first library; raises what it raises."""
    loaded = x509.load_der_x509_certificate(der)
    names = loaded.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    found = {each.oid.dotted_string: each for each in loaded.extensions}
    return _made(
        der=der,
        tbs=loaded.tbs_certificate_bytes,
        signature=loaded.signature,
        algorithm=_algorithm(loaded),
        public_key=loaded.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        serial=loaded.serial_number,
        subject=loaded.subject.public_bytes(),
        issuer=loaded.issuer.public_bytes(),
        common_name=str(names[0].value) if len(names) == 1 else "",
        validity=(loaded.not_valid_before_utc, loaded.not_valid_after_utc),
        extensions={oid: (each.critical, each.value.public_bytes()) for oid, each in found.items()},
    )


def _algorithm(loaded: x509.Certificate) -> str:
    oid = loaded.signature_algorithm_oid.dotted_string
    if oid != _PSS_OID:
        return _ECDSA.get(oid, "")
    scheme, digest = loaded.signature_algorithm_parameters, loaded.signature_hash_algorithm
    fits = (
        isinstance(scheme, padding.PSS)
        and digest is not None
        and (digest.name, scheme.mgf._algorithm.name, scheme._salt_length) == ("sha384", "sha384", 48)  # noqa: SLF001 - no public way
    )
    return RSA_PSS_SHA384 if fits else ""


def by_asn1crypto(der: bytes) -> Certificate:
    """Read with the second library; raises what it raises."""
    loaded = asn1_x509.Certificate.load(der, strict=True)
    inner, signed_by = loaded["tbs_certificate"], loaded["signature_algorithm"]
    oid = signed_by["algorithm"].dotted
    algorithm = _ECDSA.get(oid, "")
    if oid == _PSS_OID:
        scheme = signed_by["parameters"].native
        mask = scheme["mask_gen_algorithm"]
        hashes = (scheme["hash_algorithm"]["algorithm"], mask["algorithm"], mask["parameters"]["algorithm"])
        fits = hashes == ("sha384", "mgf1", "sha384") and (scheme["salt_length"], scheme["trailer_field"]) == (
            48,
            "trailer_field_bc",
        )
        algorithm = RSA_PSS_SHA384 if fits else ""
    found = [] if inner["extensions"].native is None else list(inner["extensions"])
    extensions = {each["extn_id"].dotted: (bool(each["critical"].native), each["extn_value"].contents) for each in found}
    if inner["version"].native != "v3" or len(extensions) != len(found):
        raise ValueError("another version, or an extension twice")
    name = loaded.subject.native.get("common_name")
    return _made(
        der=der,
        tbs=inner.dump(),
        signature=loaded["signature_value"].native,
        algorithm=algorithm,
        public_key=inner["subject_public_key_info"].dump(),
        serial=inner["serial_number"].native,
        subject=inner["subject"].dump(),
        issuer=inner["issuer"].dump(),
        common_name=name if isinstance(name, str) else "",
        validity=(inner["validity"]["not_before"].native, inner["validity"]["not_after"].native),
        extensions=extensions,
    )


def _made(*, extensions: dict[str, tuple[bool, bytes]], validity: tuple[datetime, datetime], **rest: Any) -> Certificate:
    """Check and fill in what both libraries leave to us."""
    # Nobody signs what stands around the signed part, so it has to be the one form that it can have.
    named = asn1_x509.TbsCertificate.load(rest["tbs"], strict=True)["signature"].dump()
    if not rest["der"].endswith(rest["tbs"] + named + core.OctetBitString(rest["signature"]).dump()):
        raise ValueError("two signature algorithms, or a signature of another form")
    ca, path_length, usage = False, None, None
    if _BASIC_CONSTRAINTS in extensions:
        constraints = asn1_x509.BasicConstraints.load(extensions[_BASIC_CONSTRAINTS][1], strict=True).native
        ca, path_length = bool(constraints["ca"]), constraints["path_len_constraint"]
    if _KEY_USAGE in extensions:
        usage = frozenset(asn1_x509.KeyUsage.load(extensions[_KEY_USAGE][1], strict=True).native)
    return Certificate(
        ca=ca,
        path_length=path_length,
        key_usage=usage,
        strange=any(critical and oid not in _UNDERSTOOD for oid, (critical, _) in extensions.items()),
        extensions={oid: value for oid, (_, value) in extensions.items() if oid.startswith(_PRIVATE)},
        not_before=validity[0],
        not_after=validity[1],
        **rest,
    )


def integer(value: bytes) -> int:
    """Read an extension that is one DER INTEGER of at most two bytes, as AMD writes its patch levels.

    Raises:
        InvalidInputError: It is something else.
    """
    if len(value) not in {3, 4} or value[:2] != bytes((2, len(value) - 2)) or value[2] & 0x80 or (len(value) == 4 and value[2]):
        raise InvalidInputError("a certificate has a number of another form", hint="is it a certificate of this maker?")
    return value[-1]


def octets(value: bytes, size: int) -> bytes:
    """Read an extension that is so many bytes, bare (as AMD wrote them at first) or as a DER OCTET STRING.

    Raises:
        InvalidInputError: It is something else.
    """
    bare = value[2:] if len(value) == size + 2 and value[:2] == bytes((4, size)) else value
    if len(bare) != size:
        raise InvalidInputError("a certificate has an id of another form", hint="is it a certificate of this maker?")
    return bare


def text(value: bytes) -> str:
    """Read an extension that is one short DER IA5String or UTF8String.

    Raises:
        InvalidInputError: It is something else.
    """
    if len(value) < 3 or value[0] not in {0x16, 0x0C} or value[1] != len(value) - 2 or value[1] > 127 or not value[2:].isascii():
        raise InvalidInputError("a certificate has a text of another form", hint="is it a certificate of this maker?")
    return value[2:].decode("ascii")
