"""Verifying an AMD SEV-SNP report: its signature, the chain of its key, and that both speak of the same chip and patch levels.

Whether the guest is a wanted one is not asked here, see `appraisal`. A masked key (MASK_CHIP_KEY) is refused, because then the
firmware signs nothing; a masked chip id is told to the policy, because the key cannot be compared with it.
Source: AMD publication 57230, VCEK and VLEK certificates (extensions below 1.3.6.1.4.1.3704.1); 56860, reports.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from cryptography import x509

from opaque_jobs.attestation.certificates import (
    ECDSA_SHA384,
    RSA_PSS_SHA384,
    Certificate,
    integer,
    octets,
    text,
)
from opaque_jobs.attestation.chain import AMD_ROOTS, Roots, check_chain, check_revocation, is_signed
from opaque_jobs.attestation.claims import SnpClaims
from opaque_jobs.attestation.snp_report import SnpReport, line_of_cpu, parse_report, tcb_of
from opaque_jobs.attestation.steps import Steps
from opaque_jobs.domain.tee_policy import SnpLine, SnpSigner
from opaque_jobs.errors import TrustError

__all__ = ["verify_snp"]

_OID: Final = "1.3.6.1.4.1.3704.1."
_PRODUCT: Final = _OID + "2"
_HARDWARE_ID: Final = _OID + "4"
_CSP_ID: Final = _OID + "5"
_LEVELS: Final = {
    SnpLine.MILAN: (1, 2, 4, 5, 6, 7, 3, 8),
    SnpLine.GENOA: (1, 2, 4, 5, 6, 7, 3, 8),
    SnpLine.TURIN: (9, 1, 2, 3, 5, 6, 7, 8),
}
"""Last arc of the patch-level extension (1.3.6.1.4.1.3704.1.3.x) for each byte of a TCB_VERSION."""
_RESERVED: Final = range(4, 8)
_PRODUCTS: Final = {SnpLine.GENOA: ("Genoa", "Bergamo", "Siena")}
_SIGNERS: Final = {0: SnpSigner.VCEK, 1: SnpSigner.VLEK}
_COMMON_NAMES: Final = {SnpSigner.VCEK: ("SEV-VCEK", "SEV-"), SnpSigner.VLEK: ("SEV-VLEK", "SEV-VLEK-")}
_ID_BYTES: Final = {SnpLine.MILAN: 64, SnpLine.GENOA: 64, SnpLine.TURIN: 8}


def verify_snp(
    raw: bytes,
    certificates: Sequence[Certificate],
    crls: Sequence[x509.CertificateRevocationList],
    *,
    now: datetime,
    steps: Steps,
    roots: Roots = AMD_ROOTS,
) -> SnpClaims:
    """Verify an untrusted report with the certificates and revocation lists that came with it.

    Args:
        raw: The report.
        certificates: VCEK or VLEK, its issuer (ASK or ASVK) and the root (ARK), in any order; others are passed over.
        crls: Revocation lists of this chain.
        now: Aware time.
        steps: Where steps are taken.
        roots: Roots that are believed.

    Raises:
        InvalidInputError: The report or an extension of its key does not parse.
        TrustError: A step does not hold.
    """
    report = parse_report(raw)
    # 1. The report says which kind of key signed it; the chain is found by names and proved by signatures.
    steps.demand("the firmware signs reports", not report.key_masked, "the host masks the signing key: the report is not signed")
    signer = _SIGNERS.get(report.signing_key)
    steps.demand("it is signed by VCEK or VLEK", signer is not None, "the report is not signed by a key of AMD's")
    assert signer is not None  # noqa: S101 - demanded in the line above
    chain = _chain(signer, certificates, steps)
    line = SnpLine(check_chain(chain, roots=roots, algorithm=RSA_PSS_SHA384, now=now, steps=steps))
    names = tuple(each.common_name for each in chain[1:])
    expected = (_COMMON_NAMES[signer][1] + line.value, f"ARK-{line.value}")
    steps.demand("the chain is of one product line", names == expected, "the chain mixes product lines or kinds of key")
    crl_issued = check_revocation(crls, chain, now=now, steps=steps)
    # 2. Key and report are of the same chip and patch levels.
    _check_product(report, chain[0], line, steps)
    _check_levels(report, chain[0], line, steps)
    csp_id, signing_chip = _check_identity(report, chain[0], line, signer, steps)
    # 3. The key signed the report.
    signed = is_signed(issuer=chain[0], signature=report.signature, data=report.signed, algorithm=ECDSA_SHA384)
    steps.demand("the report is signed", signed, "the report is not signed by the given key")
    return SnpClaims(
        version=report.version,
        line=line,
        signer=signer,
        csp_id=csp_id,
        signing_chip=signing_chip,
        vmpl=report.vmpl,
        guest_svn=report.guest_svn,
        debug=report.debug,
        smt_allowed=report.smt_allowed,
        migration_agent=report.migration_agent,
        cxl_allowed=report.cxl_allowed,
        alias_checked=report.alias_checked,
        reserved_bits=report.reserved_bits,
        measurement=report.measurement,
        report_data=report.report_data,
        host_data=report.host_data,
        chip_id=report.chip_id,
        reported_tcb=tcb_of(line, report.reported_tcb),
        launch_tcb=tcb_of(line, report.launch_tcb),
        committed_tcb=tcb_of(line, report.committed_tcb),
        crl_issued=crl_issued,
        others=report.others(),
    )


def _chain(signer: SnpSigner, certificates: Sequence[Certificate], steps: Steps) -> tuple[Certificate, ...]:
    """Pick leaf, issuer and root: exactly one certificate must fit each place."""
    name, _ = _COMMON_NAMES[signer]
    leaf = _only([each for each in certificates if each.common_name == name], f"the {signer.value.upper()}", steps)
    above = _only([each for each in certificates if each.subject == leaf.issuer], "its issuer (ASK or ASVK)", steps)
    root = _only([each for each in certificates if each.subject == above.issuer], "the root (ARK)", steps)
    return (leaf, above, root)


def _only(found: Sequence[Certificate], what: str, steps: Steps) -> Certificate:
    different = {each.der: each for each in found}
    steps.demand(f"{what} is given", len(different) == 1, f"{what} is not given, or more than one is")
    return found[0]


def _check_product(report: SnpReport, leaf: Certificate, line: SnpLine, steps: Steps) -> None:
    product = text(_extension(leaf, _PRODUCT)).partition("-")[0]
    fits = product in _PRODUCTS.get(line, (line.value,))
    steps.demand("the key is of the chain's product line", fits, "the key is of another product line than its root")
    if report.cpu is not None:
        fits = line_of_cpu(*report.cpu[:2]) is line
        steps.demand("the processor is of this product line", fits, "the report is of a processor of another product line")


def _check_levels(report: SnpReport, leaf: Certificate, line: SnpLine, steps: Steps) -> None:
    # A reserved byte of the report is zero; the key has a level of zero for it, or none.
    levels = bytes(
        0 if arc in _RESERVED and oid not in leaf.extensions else integer(_extension(leaf, oid))
        for arc, oid in ((arc, f"{_OID}3.{arc}") for arc in _LEVELS[line])
    )
    problem = "the key stands for other patch levels than the report names"
    steps.demand("key and report have the same patch levels", levels == report.reported_tcb, problem)


def _check_identity(report: SnpReport, leaf: Certificate, line: SnpLine, signer: SnpSigner, steps: Steps) -> tuple[str, bytes]:
    """Check what the key is bound to. Returns the cloud provider's name, or the chip's id."""
    if signer is SnpSigner.VLEK:
        steps.demand("the VLEK names its cloud provider", _CSP_ID in leaf.extensions, "the VLEK does not name a cloud provider")
        steps.demand("the VLEK names no chip", _HARDWARE_ID not in leaf.extensions, "the VLEK is bound to a chip too")
        return text(leaf.extensions[_CSP_ID]), b""
    steps.demand("the VCEK names no cloud provider", _CSP_ID not in leaf.extensions, "the VCEK is bound to a cloud provider too")
    chip = octets(_extension(leaf, _HARDWARE_ID), _ID_BYTES[line]).ljust(64, b"\0")
    if any(report.chip_id):
        steps.demand("the key is of the reporting chip", chip == report.chip_id, "the key is of another chip than the report")
    return "", chip


def _extension(leaf: Certificate, oid: str) -> bytes:
    value = leaf.extensions.get(oid)
    if value is None:
        raise TrustError("the signing key lacks an extension of AMD's", hint="give the VCEK or VLEK as AMD serves it")
    return value
