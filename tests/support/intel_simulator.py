"""A maker of Intel platforms: root, platform keys, collateral and quotes of our own, so that every rule can be broken one by one.

Verifiers take their roots as a parameter; nothing of this is believed anywhere else.
"""

import json
import struct
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from hashlib import sha256
from typing import Any

from asn1crypto import core
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from opaque_jobs.attestation.certificates import parse_certificate, pem_text
from tests.support.amd_simulator import DAY, NOW, amd_name, ec_key

ROOT, PLATFORM_CA, PCK, SIGNER = (
    "Intel SGX Root CA", "Intel SGX PCK Platform CA", "Intel SGX PCK Certificate", "Intel SGX TCB Signing",
)  # fmt: skip
FMSPC = bytes.fromhex("50806f000000")
OID = "1.2.840.113741.1.13.1"
QE_VENDOR = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
QE_SIGNER = b"\x5e" * 32
ENCLAVE, FIRMWARE = b"\xab" * 32, b"\xab" * 48
REPORT_DATA = b"\x11" * 64
SGX, TDX = 0, 0x81


def fixed(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    """Sign as Intel writes signatures: both numbers, 32 bytes each."""
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def point(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]


def _sequence(*parts: bytes) -> bytes:
    return core.Sequence(contents=b"".join(parts)).dump()


def _named(arc: str, value: Any) -> bytes:
    return _sequence(core.ObjectIdentifier(f"{OID}{arc}").dump(), value if isinstance(value, bytes) else value.dump())


def platform_extension(maker: "IntelMaker") -> bytes:
    """Give the extension of a platform's certificate that says which platform it is, and at which patch levels."""
    levels = [_named(f".2.{number}", core.Integer(svn)) for number, svn in enumerate(maker.svns, 1)]
    levels += [_named(".2.17", core.Integer(maker.pce_svn)), _named(".2.18", core.OctetString(bytes(maker.svns)))]
    switches = {1: maker.dynamic, 2: maker.cached, 3: maker.smt}
    return _sequence(
        _named(".1", core.OctetString(bytes(16))),
        _named(".2", _sequence(*levels)),
        _named(".3", core.OctetString(bytes(2))),
        _named(".4", core.OctetString(FMSPC)),
        _named(".5", core.Enumerated.load(bytes((10, 1, maker.sgx_type)))),
        _named(".6", core.OctetString(bytes(16))),
        _named(".7", _sequence(*(_named(f".7.{number}", core.Boolean(value)) for number, value in switches.items()))),
    )


def _certificate(subject: str, issuer: str, key: str, signer: str, *, ca: bool, extension: bytes = b"", **over: Any) -> bytes:
    given = {"not_before": NOW - DAY, "not_after": NOW + DAY * 365, "serial": 7} | over
    usage = ("key_cert_sign", "crl_sign") if ca else ("digital_signature",)
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
             "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")  # fmt: skip
    builder = (
        x509.CertificateBuilder()
        .subject_name(amd_name(subject))
        .issuer_name(amd_name(issuer))
        .public_key(ec_key(key).public_key())
        .serial_number(given["serial"])
        .not_valid_before(given["not_before"])
        .not_valid_after(given["not_after"])
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**{name: name in usage for name in names}), critical=True)
    )
    if extension:
        builder = builder.add_extension(x509.UnrecognizedExtension(x509.ObjectIdentifier(OID), extension), critical=False)
    return builder.sign(ec_key(signer), hashes.SHA256()).public_bytes(Encoding.DER)


@dataclass(kw_only=True)
class IntelMaker:
    """Makes quotes and collateral; every argument changes one thing.

    Args:
        kind: `SGX` or `TDX`.
        version: Of the quote's format.
        body_type: Of version 5: 1 SGX, 2 TDX 1.0, 3 TDX 1.5, 4 TDX 1.5 extended.
        tcb_over: Changes TCB info.
        identity_over: Changes the identity of the quoting enclave.
    """

    kind: int = TDX
    version: int = 4
    body_type: int = 2
    svns: tuple[int, ...] = (2,) * 16
    pce_svn: int = 13
    sgx_type: int = 1
    smt: bool = True
    dynamic: bool = True
    cached: bool = True
    status: str = "UpToDate"
    advisories: tuple[str, ...] = ()
    issued: datetime = NOW - timedelta(days=10)
    until: datetime = NOW + timedelta(days=20)
    pck_over: dict[str, Any] = field(default_factory=dict)
    pck_signer: str = "p256-platform"
    collateral_signer: str = "p256-signer"
    tcb_over: dict[str, Any] = field(default_factory=dict)
    identity_over: dict[str, Any] = field(default_factory=dict)
    revoked: tuple[int, ...] = ()

    @cached_property
    def _chain(self) -> tuple[bytes, bytes, bytes]:
        pck = {"key": "p256-pck", "signer": self.pck_signer, "extension": platform_extension(self), "serial": 77} | self.pck_over
        return (
            _certificate(PCK, PLATFORM_CA, **pck, ca=False),
            _certificate(PLATFORM_CA, ROOT, "p256-platform", "p256-intel", ca=True),
            _certificate(ROOT, ROOT, "p256-intel", "p256-intel", ca=True, serial=1),
        )

    def ders(self) -> tuple[bytes, bytes, bytes]:
        """Give the platform's certificate, its issuer and the root, always the same ones."""
        return self._chain

    @property
    def roots(self) -> dict[str, str]:
        """What believes this maker, and no other."""
        return {parse_certificate(self.ders()[2]).fingerprint: "Intel SGX"}

    def body(self, **over: bytes) -> bytes:
        """Give what the quote is about; `over` changes fields by name."""
        if self.kind == SGX:
            given = {
                "cpu_svn": bytes(self.svns), "misc": bytes(4), "r1": bytes(28), "attributes": b"\5" + bytes(15),
                "mr_enclave": ENCLAVE, "r2": bytes(32), "mr_signer": b"\x5f" * 32, "r3": bytes(96), "id": bytes(4),
                "r4": bytes(60), "report_data": REPORT_DATA,
            }  # fmt: skip
        else:
            given = {
                "tee_tcb_svn": bytes((5, 0, 2)) + bytes(13), "mr_seam": b"\1" * 48, "mr_signer_seam": bytes(48),
                "seam_attributes": bytes(8), "td_attributes": b"\0\0\0\x10" + bytes(4), "xfam": b"\xe7\2\6" + bytes(5),
                "mr_td": FIRMWARE, "mr_config_id": b"\2" * 48, "mr_owner": bytes(48), "mr_owner_config": bytes(48),
                "rt_mr0": b"\x10" * 48, "rt_mr1": b"\x11" * 48, "rt_mr2": b"\x12" * 48, "rt_mr3": bytes(48),
                "report_data": REPORT_DATA,
            }  # fmt: skip
            if self.body_type > 2:
                given |= {"tee_tcb_svn_2": bytes((5, 0, 2)) + bytes(13), "mr_service_td": bytes(48)}
            if self.body_type > 3:
                given |= {
                    "vmid": bytes(1), "td_id": b"\x1d" * 32, "dev_info": bytes(48), "init_service_td_hash": bytes(48),
                    "init": bytes(8 + 16 + 16 + 12), "cur_service_td_hash": bytes(48), "cur": bytes(8),
                }  # fmt: skip
        return b"".join((given | over).values())

    def quote(self, *, chain: tuple[bytes, ...] | None = None, qe: dict[str, bytes] | None = None, **over: Any) -> bytes:
        """Give a quote.

        Args:
            chain: Certificates in it; none at all gives the platform's id instead.
            qe: Changes fields of the quoting enclave's report.
            over: Changes fields of the body; `attester`, `reporter` and `bound` change who signs and what is bound.
        """
        attester, reporter = over.pop("attester", "p256-attester"), over.pop("reporter", "p256-pck")
        bound = over.pop("bound", None)
        version, kind = self.version, self.kind
        header = struct.pack("<HHIHH", version, 2, kind, 0, 0) + QE_VENDOR + bytes(20)
        body = self.body(**over)
        typed = struct.pack("<HI", self.body_type, len(body)) if version == 5 else b""
        signed = header + typed + body
        key = point(ec_key("p256-attester"))
        auth = b"\x07" * 32
        report = self._enclave_report(bound if bound is not None else sha256(key + auth).digest(), **(qe or {}))
        ders = self.ders() if chain is None else chain
        text = pem_text(ders).encode() + b"\0" if ders else bytes(404)
        tail = struct.pack("<HI", 5 if ders else 3, len(text)) + text
        part = report + fixed(ec_key(reporter), report) + struct.pack("<H", len(auth)) + auth + tail
        if version > 3:
            part = struct.pack("<HI", 6, len(part)) + part
        data = fixed(ec_key(attester), signed) + key + part
        return signed + struct.pack("<I", len(data)) + data

    @staticmethod
    def _enclave_report(bound: bytes, **over: bytes) -> bytes:
        given = {
            "cpu_svn": bytes(16), "misc": bytes(4), "r1": bytes(28), "attributes": b"\x11" + bytes(15),
            "mr_enclave": b"\x0e" * 32, "r2": bytes(32), "mr_signer": QE_SIGNER, "r3": bytes(96),
            "isv_prod_id": struct.pack("<H", 2), "isv_svn": struct.pack("<H", 4), "r4": bytes(60),
            "report_data": bound + bytes(32),
        }  # fmt: skip
        return b"".join((given | over).values())

    def _stamps(self) -> dict[str, Any]:
        def stamp(at: datetime) -> str:
            return at.strftime("%Y-%m-%dT%H:%M:%SZ")

        return {"issueDate": stamp(self.issued), "nextUpdate": stamp(self.until), "tcbEvaluationDataNumber": 17}

    def tcb_info(self) -> dict[str, Any]:
        components = [{"svn": 2}] * 16
        level: dict[str, Any] = {"tcb": {"sgxtcbcomponents": components, "pcesvn": 13}, "tcbDate": "2025-11-13T00:00:00Z"}
        document = {"id": "SGX", "version": 3} | self._stamps() | {"fmspc": FMSPC.hex(), "pceId": "0000", "tcbType": 0}
        if self.kind == TDX:
            level["tcb"]["tdxtcbcomponents"] = [{"svn": svn} for svn in (5, 0, 2, *[0] * 13)]
            module = {"mrsigner": "00" * 48, "attributes": "00" * 8, "attributesMask": "FF" * 8}
            document |= {"id": "TDX", "tdxModule": module, "tdxModuleIdentities": []}
        level |= {"tcbStatus": self.status, "advisoryIDs": list(self.advisories)}
        return document | {"tcbLevels": [level]} | self.tcb_over

    def identity(self) -> dict[str, Any]:
        masks = {"miscselect": "00000000", "miscselectMask": "FFFFFFFF", "attributes": "11" + "00" * 15}
        masks |= {"attributesMask": "FBFFFFFFFFFFFFFF0000000000000000", "mrsigner": QE_SIGNER.hex(), "isvprodid": 2}
        level = {"tcb": {"isvsvn": 4}, "tcbDate": "2025-11-13T00:00:00Z", "tcbStatus": "UpToDate"}
        document = {"id": "QE" if self.kind == SGX else "TD_QE", "version": 2} | self._stamps() | masks
        return document | {"tcbLevels": [level]} | self.identity_over

    def _crl(self, issuer: str, key: str, *, revoked: tuple[int, ...] = ()) -> bytes:
        above = ec_key(key)
        builder = x509.CertificateRevocationListBuilder().issuer_name(amd_name(issuer))
        builder = builder.last_update(self.issued).next_update(self.until)
        builder = builder.add_extension(x509.CRLNumber(1), critical=False)
        builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(above.public_key()), critical=False)
        for serial in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(self.issued).build()
            builder = builder.add_revoked_certificate(entry)
        return builder.sign(above, hashes.SHA256()).public_bytes(Encoding.DER)

    def collateral(self) -> dict[str, str]:
        """Give it whole, in dcap-qvl's form."""
        _, platform, root = self.ders()
        signer = _certificate(SIGNER, ROOT, self.collateral_signer, "p256-intel", ca=False, serial=9)
        texts = {name: json.dumps(part, separators=(",", ":")) for name, part in
                 (("tcb_info", self.tcb_info()), ("qe_identity", self.identity()))}  # fmt: skip
        key = ec_key("p256-signer")
        return texts | {
            "tcb_info_signature": fixed(key, texts["tcb_info"].encode()).hex(),
            "qe_identity_signature": fixed(key, texts["qe_identity"].encode()).hex(),
            "tcb_info_issuer_chain": pem_text([signer, root]),
            "qe_identity_issuer_chain": pem_text([signer, root]),
            "pck_crl_issuer_chain": pem_text([platform, root]),
            "root_ca_crl": self._crl(ROOT, "p256-intel").hex(),
            "pck_crl": self._crl(PLATFORM_CA, "p256-platform", revoked=self.revoked).hex(),
        }

    def answers(self) -> list[bytes]:
        """Give the same as Intel's service does, one answer after the other."""
        whole = self.collateral()

        def answer(name: str, part: str) -> bytes:
            return f'{{"{name}":{whole[part]},"signature":"{whole[f"{part}_signature"]}"}}'.encode()

        return [
            answer("tcbInfo", "tcb_info"), answer("enclaveIdentity", "qe_identity"), whole["tcb_info_issuer_chain"].encode(),
            bytes.fromhex(whole["root_ca_crl"]), bytes.fromhex(whole["pck_crl"]),
        ]  # fmt: skip
