"""A maker of Nitro documents: a root and intermediates of our own, so that every rule can be broken one by one."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from opaque_jobs.attestation.certificates import parse_certificate
from tests.support.amd_simulator import NOW, ec_key, make_certificate

IMAGE = b"\xab" * 48


@dataclass(kw_only=True)
class NitroMaker:
    """Makes documents; the `*_over` tables change one argument of one certificate."""

    root_over: dict[str, Any] = field(default_factory=dict)
    middle_over: dict[str, Any] = field(default_factory=dict)
    leaf_over: dict[str, Any] = field(default_factory=dict)

    def ders(self) -> list[bytes]:
        """Give root, intermediate and leaf, as AWS orders them."""
        signs = ("key_cert_sign", "crl_sign")
        root = {"key": ec_key("root"), "signer": ec_key("root"), "ca": True, "usage": signs} | self.root_over
        middle = {"key": ec_key("middle"), "signer": ec_key("root"), "ca": True, "path_length": 0, "usage": signs}
        leaf = {"key": ec_key("leaf"), "signer": ec_key("middle"), "usage": ("digital_signature",)} | self.leaf_over
        return [
            make_certificate("root.test", "root.test", **root),
            make_certificate("zone.test", "root.test", **(middle | self.middle_over)),
            make_certificate("enclave.test", leaf.pop("issuer", "zone.test"), **leaf),
        ]

    def content(self, ders: list[bytes], **over: Any) -> dict[str, Any]:
        given: dict[str, Any] = {
            "module_id": "i-1-enc1", "digest": "SHA384", "timestamp": int(NOW.timestamp() * 1000),
            "pcrs": {0: IMAGE, 1: b"\1" * 48, 2: b"\2" * 48}, "certificate": ders[-1], "cabundle": ders[:-1],
            "public_key": None, "user_data": b"\3" * 48, "nonce": None,
        }  # fmt: skip
        return {key: value for key, value in (given | over).items() if value != "left out"}

    def document(
        self, ders: list[bytes] | None = None, *, key: Any = None, header: Any = None, unsigned: Any = None, payload: bytes = b"",
        tag: bool = False, signed_as: bytes | None = None, **over: Any,
    ) -> tuple[bytes, dict[str, str]]:  # fmt: skip
        """Give a document and the roots to believe."""
        ders = ders or self.ders()
        protected = cbor2.dumps({1: -35} if header is None else header)
        payload = payload or cbor2.dumps(self.content(ders, **over))
        to_sign = cbor2.dumps(["Signature1", protected if signed_as is None else signed_as, b"", payload])
        r, s = decode_dss_signature((key or ec_key("leaf")).sign(to_sign, ec.ECDSA(hashes.SHA384())))
        message = [protected, unsigned or {}, payload, r.to_bytes(48, "big") + s.to_bytes(48, "big")]
        raw = cbor2.dumps(cbor2.CBORTag(18, message) if tag else message)
        return raw, {parse_certificate(ders[0]).fingerprint: "test"}


def at(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
