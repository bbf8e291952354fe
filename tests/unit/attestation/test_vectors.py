"""Every file of the test vectors, with the outcome that its name and the design's facts about hardware state, in one table."""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from opaque_jobs.attestation.appraisal import Outcome
from opaque_jobs.attestation.certificates import ECDSA_SHA256, RSA_PSS_SHA384, parse_certificate
from opaque_jobs.attestation.chain import AMD_ROOTS, AWS_ROOTS, INTEL_ROOTS, check_chain, check_revocation, is_signed
from opaque_jobs.attestation.forms import read_evidence
from opaque_jobs.attestation.quote_layout import split_quote
from opaque_jobs.attestation.result import EarStatus
from opaque_jobs.attestation.steps import Steps
from opaque_jobs.errors import TrustError
from opaque_jobs.verify.evidence_report import inspect_evidence
from tests.support.vectors import (
    FOLDER,
    GOOGLE,
    MILAN,
    NITRO_AT,
    NITRO_DEBUG_AT,
    PHALA,
    SNP_AT,
    TDX_AT,
    VCEK,
    VLEK,
    needs_vectors,
    pieces,
    read,
)

pytestmark = needs_vectors
GENOA = ("snp/amd-ask-genoa.pem", "snp/amd-ark-genoa.pem")
REPORT, VLEK_REPORT = "snp/trustee-test-report.bin", "snp/trustee-test-vlek-report.bin"
QUOTE, GOOGLE_QUOTE = "tdx/phala-tdx_quote", "tdx/go-tdx-guest-tdx_prod_quote_SPR_E4.dat"
DOCUMENT, DEBUG_DOCUMENT = "nitro/evervault-valid-attestation-doc.cbor", "nitro/evervault-debug-mode-attestation-doc.cbor"
AWS_ROOT = "nitro/aws-nitro-root-g1.pem"
GOOGLE_AT = datetime.fromisoformat("2023-07-01T00:00:00Z")
AFTERWARDS = datetime.fromisoformat("2026-06-01T00:00:00Z")


@dataclass(frozen=True, kw_only=True)
class Row:
    """A file of evidence, what is beside it, and how its verification ends.

    `problem` is the step that does not hold; `fails` are the demands that no policy can waive; `says` are some of its claims.
    """

    evidence: str
    beside: tuple[str, ...] = ()
    at: datetime
    problem: str = ""
    fails: tuple[str, ...] = ()
    says: tuple[tuple[str, str], ...] = ()


TABLE = {
    "Milan VCEK report": Row(
        evidence=REPORT, beside=VCEK, at=SNP_AT,
        says=(
            ("version", "2"), ("line", "Milan"), ("signer", "vcek"), ("vmpl", "0"), ("debug", "no"),
            ("reported_tcb", "fmc 0, bootloader 3, tee 0, snp 8, microcode 115"), ("measurement", "a1f3930413247bb3"),
        ),
    ),
    "Milan VLEK report": Row(
        evidence=VLEK_REPORT, beside=VLEK, at=SNP_AT,
        says=(("version", "3"), ("line", "Milan"), ("signer", "vlek"), ("vmpl", "1"),
              ("csp_id", "CN=cc-us-east-2.amazonaws.com")),
    ),
    "invalid VCEK, legacy": Row(
        evidence=REPORT, beside=("snp/trustee-test-vcek-invalid-legacy.der", *MILAN), at=SNP_AT,
        problem="SEV-VCEK is not signed by SEV-Milan",
    ),
    "invalid VCEK, new": Row(
        evidence=REPORT, beside=("snp/trustee-test-vcek-invalid-new.der", *MILAN), at=SNP_AT,
        problem="SEV-VCEK is not signed by SEV-Milan",
    ),
    "VCEK without a chain": Row(evidence=REPORT, beside=VCEK[:1], at=SNP_AT, problem="its issuer (ASK or ASVK) is not given"),
    "VCEK below Genoa": Row(evidence=REPORT, beside=(VCEK[0], *GENOA), at=SNP_AT, problem="its issuer (ASK or ASVK) is not"),
    "VLEK report, VCEK": Row(evidence=VLEK_REPORT, beside=VCEK, at=SNP_AT, problem="the VLEK is not given"),
    "VCEK report, VLEK": Row(evidence=REPORT, beside=VLEK, at=SNP_AT, problem="the VCEK is not given"),
    "VLEK that has run out": Row(
        evidence=VLEK_REPORT, beside=VLEK, at=AFTERWARDS, problem="SEV-VLEK is not in force at this time"
    ),
    "Phala quote": Row(
        evidence=QUOTE, beside=PHALA, at=TDX_AT,
        says=(
            ("version", "4"), ("status", "UpToDate"), ("debug", "no"), ("tcb_evaluation", "17"), ("smt", "yes"),
            ("dynamic_platform", "yes"), ("cached_keys", "yes"), ("mr_td", "91eb2b44d141d4ec"),
        ),
    ),
    "Phala quote, collateral run out": Row(
        evidence=QUOTE, beside=PHALA, at=AFTERWARDS, problem="the quote or its collateral does not hold"
    ),
    "Phala quote alone": Row(
        evidence=QUOTE, at=TDX_AT, problem="the collateral lacks the chain of Intel's TCB signing key, or has two"
    ),
    "Google quote": Row(
        evidence=GOOGLE_QUOTE, beside=GOOGLE, at=GOOGLE_AT,
        problem="the collateral lacks the chain of Intel's TCB signing key, or has two",
    ),
    "Nitro document": Row(
        evidence=DOCUMENT, at=NITRO_AT, says=(("measured", "sha384:f4d48b81a460c991"), ("pcr0", "f4d48b81a460c991")),
    ),
    "Nitro document, root beside it": Row(evidence=DOCUMENT, beside=(AWS_ROOT,), at=NITRO_AT),
    "Nitro document that has run out": Row(evidence=DOCUMENT, at=SNP_AT, problem=" is not in force at this time"),
    "Nitro debug document": Row(evidence=DEBUG_DOCUMENT, at=NITRO_DEBUG_AT, fails=("debug-enabled",), says=(("pcr0", "0" * 96),)),
}  # fmt: skip


def inspect(row):
    return inspect_evidence(
        read_evidence(read(row.evidence)),
        more=[read(name) for name in row.beside],
        policies=None,
        sgx=None,
        simulated_keys=[],
        now=row.at,
    )


@pytest.mark.parametrize("name", TABLE)
def test_vector_has_its_outcome(name):
    row = TABLE[name]
    report = inspect(row)
    assert row.problem in report.steps[-1].problem
    assert report.signature_holds is (not row.problem)
    assert tuple(each.code for each in report.findings if each.outcome is Outcome.FAILS) == row.fails
    assert report.holds is (not row.problem and not row.fails)
    assert report.status is (EarStatus.NONE if report.holds else EarStatus.CONTRAINDICATED)
    for claim, start in row.says:
        assert report.claims[claim].startswith(start), claim


def test_every_vector_is_used_in_the_table():
    present = {path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*") if path.is_file()} - {"MANIFEST.json"}
    used = {name for row in TABLE.values() for name in (row.evidence, *row.beside)}
    assert present == used, f"not used: {sorted(present - used)}; not there: {sorted(used - present)}"


def test_vectors_are_those_of_their_manifest():
    entries = {entry["file"]: entry["sha256"] for entry in json.loads(read("MANIFEST.json"))}
    assert {name: hashlib.sha256(read(name)).hexdigest() for name in entries} == entries


@pytest.mark.parametrize(("line", "names"), [("Milan", MILAN), ("Genoa", GENOA)])
def test_chain_of_amd_ends_in_the_pinned_root_of_its_line(line, names):
    chain = pieces(*names).certificates
    steps = Steps()
    with pytest.raises(TrustError, match="is not a certificate that signs evidence"):
        check_chain(chain, roots=AMD_ROOTS, algorithm=RSA_PSS_SHA384, now=SNP_AT, steps=steps)
    assert [step.problem for step in steps.taken[:-1]] == [""] * (len(steps.taken) - 1)
    assert (AMD_ROOTS[chain[-1].fingerprint], chain[-1].common_name) == (line, f"ARK-{line}")


def test_root_of_aws_is_the_pinned_one():
    (root,) = pieces(AWS_ROOT).certificates
    assert AWS_ROOTS[root.fingerprint] == "AWS Nitro"


def test_pieces_of_google_are_truly_signed_so_that_only_the_missing_chain_refuses_its_quote():
    """The chain that is missing is of Intel's key of today, whose certificate was issued two years later."""
    given, split = pieces(*GOOGLE), split_quote(read(GOOGLE_QUOTE))
    chain = [parse_certificate(der) for der in split.chain]
    check_chain(chain, roots=INTEL_ROOTS, algorithm=ECDSA_SHA256, now=GOOGLE_AT, steps=Steps())
    issued = check_revocation(given.crls, chain, now=GOOGLE_AT, steps=Steps())
    assert (len(given.crls), str(issued.date())) == (2, "2023-04-03")
    signer = next(each for each in pieces(*PHALA).certificates if each.common_name == "Intel SGX TCB Signing")
    for text, signature in given.documents.values():
        numbers = (int(signature[:64], 16), int(signature[64:], 16))
        assert is_signed(issuer=signer, signature=encode_dss_signature(*numbers), data=text.encode(), algorithm=ECDSA_SHA256)
    assert signer.not_before > GOOGLE_AT
    assert split.rest == b"\nextra bytes(only for testing purpose)\n"
