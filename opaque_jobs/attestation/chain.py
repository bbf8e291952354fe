"""Chains of hardware makers: from a key that signs evidence up to a root that is pinned by its SHA-256.

Trust: the pins below are all that is believed beforehand. AMD's three and Intel's were compared with copies in several
independent public repositories, and AWS's with the fingerprint of its documentation. Another root (a new product line) is
not believed until it is pinned here.
Source: RFC 5280, section 6.1, as far as these chains use it.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from opaque_jobs.attestation.certificates import ECDSA_SHA256, ECDSA_SHA384, RSA_PSS_SHA384, Certificate
from opaque_jobs.attestation.steps import Steps

__all__ = ["AMD_ROOTS", "AWS_ROOTS", "INTEL_ROOTS", "Roots", "check_chain", "check_revocation", "is_signed"]

Roots = Mapping[str, str]
"""SHA-256 of a root's DER -> what it is the root of."""

AMD_ROOTS: Final[Roots] = {
    "69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd": "Milan",
    "4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1": "Genoa",
    "1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a": "Turin",
}
INTEL_ROOTS: Final[Roots] = {"44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3": "Intel SGX"}
AWS_ROOTS: Final[Roots] = {"641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b": "AWS Nitro"}


def is_signed(*, issuer: Certificate, signature: bytes, data: bytes, algorithm: str) -> bool:
    """Tell whether a certificate's key signed the data, by one algorithm and with a key of its type and size."""
    try:
        key = load_der_public_key(issuer.public_key)
        if algorithm == RSA_PSS_SHA384 and isinstance(key, rsa.RSAPublicKey) and key.key_size >= 4096:
            key.verify(signature, data, padding.PSS(padding.MGF1(hashes.SHA384()), 48), hashes.SHA384())
            return True
        if isinstance(key, ec.EllipticCurvePublicKey) and (algorithm, key.curve.name) in {
            (ECDSA_SHA256, "secp256r1"),
            (ECDSA_SHA384, "secp384r1"),
        }:
            key.verify(signature, data, ec.ECDSA(hashes.SHA256() if algorithm == ECDSA_SHA256 else hashes.SHA384()))
            return True
    except (InvalidSignature, ValueError, UnsupportedAlgorithm):
        return False
    return False


def check_chain(chain: Sequence[Certificate], *, roots: Roots, algorithm: str, now: datetime, steps: Steps) -> str:
    """Check a chain from the key that signs evidence to a pinned root.

    Args:
        chain: In order, the root last.
        roots: Those believed.
        algorithm: By which every one of the chain is signed.
        now: Aware time.
        steps: Where steps are taken.

    Returns:
        What the root is the root of.

    Raises:
        TrustError: A step does not hold.
    """
    leaf, root = chain[0], chain[-1]
    label = leaf.common_name or "the signing certificate"
    steps.demand("the chain ends in a pinned root", root.fingerprint in roots, "the chain ends in a root that is not pinned")
    for each in chain:
        name = each.common_name or "a certificate"
        steps.demand(f"{name}: in force", each.not_before <= now <= each.not_after, f"{name} is not in force at this time")
        steps.demand(f"{name}: no unknown demands", not each.strange, f"{name} has a critical extension that is not understood")
    for depth, (each, above) in enumerate(zip(chain, [*chain[1:], root], strict=True)):
        name, signer = each.common_name or "a certificate", above.common_name or "the certificate above"
        steps.demand(f"{name}: names its issuer", each.issuer == above.subject, f"{name} names another issuer than {signer}")
        may_sign = above.ca and (above.key_usage is None or "key_cert_sign" in above.key_usage)
        steps.demand(f"{signer}: may sign certificates", may_sign, f"{signer} may not sign certificates")
        long_enough = above.path_length is None or above is root is each or depth <= above.path_length
        steps.demand(f"{signer}: may have a chain so long", long_enough, f"{signer} may not have so long a chain below it")
        signed = each.algorithm == algorithm and is_signed(
            issuer=above, signature=each.signature, data=each.tbs, algorithm=each.algorithm
        )
        steps.demand(f"{name}: signed by {signer}", signed, f"{name} is not signed by {signer} with {algorithm}")
    sound = not leaf.ca and (leaf.key_usage is None or "digital_signature" in leaf.key_usage)
    steps.demand(f"{label}: signs evidence, not certificates", sound, f"{label} is not a certificate that signs evidence")
    return roots[root.fingerprint]


def check_revocation(
    crls: Sequence[x509.CertificateRevocationList], chain: Sequence[Certificate], *, now: datetime, steps: Steps
) -> datetime | None:
    """Check the revocation lists that a certificate of the chain issued; others are passed over, as lists of other makers are.

    Returns:
        When the oldest of them was issued; None if there is none.

    Raises:
        TrustError: One is not signed by its issuer, out of date, or revokes a certificate of the chain.
    """
    issued: list[datetime] = []
    for crl in crls:
        above = next((each for each in chain if each.subject == crl.issuer.public_bytes()), None)
        if above is None:
            continue
        may = above.ca and (above.key_usage is None or "crl_sign" in above.key_usage)
        steps.demand(f"{above.common_name}: may sign revocation lists", may, "a revocation list is signed by a key that may not")
        signed = _is_crl_signed(crl, above)
        steps.demand("the revocation list is signed", signed, "a revocation list is not signed by its issuer")
        until = crl.next_update_utc
        fresh = crl.last_update_utc <= now and until is not None and now <= until
        steps.demand("the revocation list is in force", fresh, "a revocation list is not in force at this time")
        below = [each for each in chain if each.issuer == above.subject]
        revoked = any(crl.get_revoked_certificate_by_serial_number(each.serial) for each in below)
        steps.demand("nothing of the chain is revoked", not revoked, "a certificate of the chain is revoked")
        issued.append(crl.last_update_utc)
    return min(issued, default=None)


def _is_crl_signed(crl: x509.CertificateRevocationList, above: Certificate) -> bool:
    try:
        key = load_der_public_key(above.public_key)
        return isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey) and crl.is_signature_valid(key)
    except (ValueError, UnsupportedAlgorithm):
        return False
