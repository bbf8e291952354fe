"""A maker of SEV-SNP chips: a root, intermediates and signing keys of our own, so that every rule can be broken one by one.

Verifiers take their roots as a parameter; nothing of this is believed anywhere else.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding

from opaque_jobs.attestation.certificates import Certificate, parse_certificate
from opaque_jobs.attestation.envelope import EvidenceEnvelope
from opaque_jobs.attestation.hardware import Anchors
from opaque_jobs.attestation.snp_report import REPORT_BYTES
from opaque_jobs.domain.job import TeeKind
from opaque_jobs.domain.tee_policy import SnpLine, SnpSigner

NOW = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
OID = "1.3.6.1.4.1.3704.1."
CHIP = bytes(range(1, 65))
LEVELS = {1: 4, 2: 0, 3: 24, 4: 0, 5: 0, 6: 0, 7: 0, 8: 219, 9: 1}
CPU = {SnpLine.MILAN: (0x19, 0x01, 1), SnpLine.GENOA: (0x19, 0x11, 1), SnpLine.TURIN: (0x1A, 0x02, 1)}
TCB_ORDER = {
    SnpLine.MILAN: (1, 2, 4, 5, 6, 7, 3, 8),
    SnpLine.GENOA: (1, 2, 4, 5, 6, 7, 3, 8),
    SnpLine.TURIN: (9, 1, 2, 3, 5, 6, 7, 8),
}
TCB_AT = {0x38: "current_tcb", 0x180: "reported_tcb", 0x1E0: "committed_tcb", 0x1F0: "launch_tcb"}
MEASUREMENT = b"\xab" * 48


@cache
def rsa_key(name: str) -> rsa.RSAPrivateKey:
    """Make a key once for all tests: 4,096 bits take seconds."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048 if name.startswith("short") else 4096)


@cache
def ec_key(name: str) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1() if name.startswith("p256") else ec.SECP384R1())


def der_integer(number: int) -> bytes:
    raw = bytes((number,)) if number < 128 else bytes((0, number))
    return bytes((2, len(raw))) + raw


def der_text(text: str) -> bytes:
    return bytes((0x16, len(text))) + text.encode()


def amd_name(common_name: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "Test"), x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)]
    )


def make_certificate(
    subject: str,
    issuer: str,
    *,
    key: Any,
    signer: Any,
    ca: bool = False,
    path_length: int | None = None,
    basic: bool = True,
    usage: tuple[str, ...] | None = None,
    extensions: dict[str, bytes] | None = None,
    critical: str | None = None,
    not_before: datetime = NOW - DAY,
    not_after: datetime = NOW + DAY,
    serial: int = 7,
    salt: int = 48,
    digest: Any = None,
) -> bytes:
    """Make a certificate, DER."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(amd_name(subject))
        .issuer_name(amd_name(issuer))
        .public_key(key.public_key())
        .serial_number(serial or 7)
        .not_valid_before(not_before)
        .not_valid_after(not_after)
    )
    if basic and ca:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
    if usage is not None:
        names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
                 "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")  # fmt: skip
        builder = builder.add_extension(x509.KeyUsage(**{name: name in usage for name in names}), critical=True)
    for oid, value in (extensions or {}).items():
        builder = builder.add_extension(x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value), critical=oid == critical)
    digest = digest or hashes.SHA384()
    if isinstance(signer, rsa.RSAPrivateKey):
        scheme = padding.PSS(mgf=padding.MGF1(digest), salt_length=salt)
        made = builder.sign(signer, digest, rsa_padding=scheme).public_bytes(Encoding.DER)
    else:
        made = builder.sign(signer, digest).public_bytes(Encoding.DER)
    return made if serial else _with_serial_zero(made, signer)


def _with_serial_zero(der: bytes, signer: rsa.RSAPrivateKey) -> bytes:
    """Number a certificate as AMD does, which our library refuses to write."""
    made = asn1_x509.Certificate.load(der)
    made["tbs_certificate"]["serial_number"] = 0
    tbs = made["tbs_certificate"].dump(force=True)
    scheme = padding.PSS(mgf=padding.MGF1(hashes.SHA384()), salt_length=48)
    made["signature_value"] = signer.sign(tbs, scheme, hashes.SHA384())
    return made.dump(force=True)


def make_crl(
    issuer: str, *, signer: Any, revoked: tuple[int, ...] = (), since: datetime = NOW - DAY, until: datetime = NOW + DAY
):
    builder = x509.CertificateRevocationListBuilder().issuer_name(amd_name(issuer)).last_update(since).next_update(until)
    for serial in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(since).build()
        builder = builder.add_revoked_certificate(entry)
    if isinstance(signer, rsa.RSAPrivateKey):
        return builder.sign(signer, hashes.SHA384(), rsa_padding=padding.PSS(mgf=padding.MGF1(hashes.SHA384()), salt_length=48))
    return builder.sign(signer, hashes.SHA384())


@dataclass(kw_only=True)
class AmdMaker:
    """Makes chains and reports; the `*_over` tables change one argument of one certificate."""

    line: SnpLine = SnpLine.MILAN
    signer: SnpSigner = SnpSigner.VCEK
    root_over: dict[str, Any] = field(default_factory=dict)
    middle_over: dict[str, Any] = field(default_factory=dict)
    leaf_over: dict[str, Any] = field(default_factory=dict)
    leaf_extensions: dict[str, bytes | None] = field(default_factory=dict)
    product: str = ""

    @property
    def names(self) -> tuple[str, str, str]:
        kind = self.signer.value.upper()
        middle = f"SEV-{self.line}" if self.signer is SnpSigner.VCEK else f"SEV-VLEK-{self.line}"
        return f"SEV-{kind}", middle, f"ARK-{self.line}"

    @property
    def chip(self) -> bytes:
        return CHIP[:8].ljust(64, b"\0") if self.line is SnpLine.TURIN else CHIP

    def ders(self) -> tuple[bytes, bytes, bytes]:
        """Give leaf, intermediate and root."""
        leaf, middle, root = self.names
        extensions: dict[str, bytes | None] = {f"{OID}3.{arc}": der_integer(level) for arc, level in LEVELS.items()}
        if self.line is not SnpLine.TURIN:
            del extensions[f"{OID}3.9"]
        extensions[f"{OID}2"] = der_text(self.product or f"{self.line}-B0")
        if self.signer is SnpSigner.VCEK:
            extensions[f"{OID}4"] = CHIP[:8] if self.line is SnpLine.TURIN else CHIP
        else:
            extensions[f"{OID}5"] = der_text("CN=cloud.test")
        extensions |= self.leaf_extensions
        given = {"key": ec_key("leaf"), "signer": rsa_key("middle"), "serial": 0}
        given["extensions"] = {oid: value for oid, value in extensions.items() if value is not None}
        middle_given = {"key": rsa_key("middle"), "signer": rsa_key("root"), "ca": True, "path_length": 0, "serial": 65537}
        middle_given["usage"] = ("key_cert_sign",)
        root_given = {"key": rsa_key("root"), "signer": rsa_key("root"), "ca": True, "serial": 65536}
        root_given["usage"] = ("key_cert_sign", "crl_sign")
        return (
            make_certificate(leaf, self.leaf_over.pop("issuer", middle), **(given | self.leaf_over)),
            make_certificate(middle, self.middle_over.pop("issuer", root), **(middle_given | self.middle_over)),
            make_certificate(root, root, **(root_given | self.root_over)),
        )

    def chain(self) -> tuple[Certificate, ...]:
        return tuple(parse_certificate(der) for der in self.ders())

    def roots(self, chain: tuple[Certificate, ...]) -> dict[str, str]:
        return {chain[-1].fingerprint: self.line.value}

    def report(self, *, change: Callable[[bytearray], None] = lambda _raw: None, version: int = 3, **over: Any) -> bytes:
        """Give a signed report; `change` is applied before signing."""
        given = {
            "policy": 1 << 17, "vmpl": 0, "algorithm": 1, "flags": 0 if self.signer is SnpSigner.VCEK else 1 << 2,
            "report_data": b"\x11" * 64, "measurement": MEASUREMENT, "host_data": b"\x22" * 32,
            "chip_id": self.chip if self.signer is SnpSigner.VCEK else b"\0" * 64,
            "tcb": bytes(LEVELS[arc] for arc in TCB_ORDER[self.line]), "platform_info": 0x25,
        } | over  # fmt: skip
        raw = bytearray(REPORT_BYTES)
        struct.pack_into("<IIQ", raw, 0, version, 3, given["policy"])
        struct.pack_into("<II", raw, 0x30, given["vmpl"], given["algorithm"])
        struct.pack_into("<QI", raw, 0x40, given["platform_info"], given["flags"])
        raw[0x50:0x90], raw[0x90:0xC0], raw[0xC0:0xE0] = given["report_data"], given["measurement"], given["host_data"]
        for start in (0x38, 0x180, 0x1E0, 0x1F0):
            raw[start : start + 8] = given.get(TCB_AT[start], given["tcb"])
        if version >= 3:
            raw[0x188:0x18B] = bytes(CPU[self.line])
        raw[0x1A0:0x1E0] = given["chip_id"]
        change(raw)
        return sign_report(bytes(raw))


def sign_report(raw: bytes, key: ec.EllipticCurvePrivateKey | None = None) -> bytes:
    r, s = decode_dss_signature((key or ec_key("leaf")).sign(raw[:0x2A0], ec.ECDSA(hashes.SHA384())))
    signature = r.to_bytes(72, "little") + s.to_bytes(72, "little")
    return raw[:0x2A0] + signature + bytes(REPORT_BYTES - 0x2A0 - len(signature))


FOR_EVER = {"not_before": datetime(2020, 1, 1, tzinfo=UTC), "not_after": datetime(2100, 1, 1, tzinfo=UTC)}


class AmdAttester:
    """A confidential virtual machine on a chip of our maker; see `Attester`."""

    kind = TeeKind.SEV_SNP

    def __init__(self, maker: AmdMaker | None = None, **report: Any) -> None:
        self.maker = maker or AmdMaker(root_over=dict(FOR_EVER), middle_over=dict(FOR_EVER), leaf_over=dict(FOR_EVER))
        self.report = report
        self.ders = self.maker.ders()
        self.crls: tuple[bytes, ...] = ()

    @property
    def anchors(self) -> Anchors:
        """What believes this maker, and no other."""
        roots = self.maker.roots(tuple(parse_certificate(der) for der in self.ders))
        return Anchors(amd=roots, intel={}, aws={})

    @property
    def measured(self) -> str:
        return f"sha384:{MEASUREMENT.hex()}"

    def evidence(self, *, measurement: str, report_data: bytes, init_data: bytes) -> bytes:
        raw = self.maker.report(**({"report_data": report_data.ljust(64, b"\0")} | self.report))
        return EvidenceEnvelope.of(self.kind, raw, (*self.ders, *self.crls)).to_bytes()
