"""Real evidence, with the outcome that each file's name and the facts about hardware state."""

import hashlib
import json

import pytest

from opaque_jobs.attestation.appraisal import Outcome, appraise, codes
from opaque_jobs.attestation.dcap import verify_quote
from opaque_jobs.attestation.hardware import verify_claims
from opaque_jobs.attestation.nitro import verify_nitro
from opaque_jobs.attestation.steps import Steps
from opaque_jobs.domain.job import TeeKind
from opaque_jobs.domain.tee_policy import SnpLine, SnpSigner, SnpTcb
from opaque_jobs.errors import TrustError
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
REPORT, VLEK_REPORT = "snp/trustee-test-report.bin", "snp/trustee-test-vlek-report.bin"
QUOTE, GOOGLE_QUOTE = "tdx/phala-tdx_quote", "tdx/go-tdx-guest-tdx_prod_quote_SPR_E4.dat"
DOCUMENT, DEBUG_DOCUMENT = "nitro/evervault-valid-attestation-doc.cbor", "nitro/evervault-debug-mode-attestation-doc.cbor"


def verify_snp(report, *certificates, now=SNP_AT):
    return verify_claims(TeeKind.SEV_SNP, read(report), pieces(*certificates), now=now, steps=Steps())


def test_vectors_are_those_of_their_manifest():
    for entry in json.loads(read("MANIFEST.json")):
        assert hashlib.sha256((FOLDER / entry["file"]).read_bytes()).hexdigest() == entry["sha256"]


def test_vcek_report_of_milan_holds():
    claims = verify_snp(REPORT, *VCEK)
    assert (claims.version, claims.line, claims.signer) == (2, SnpLine.MILAN, SnpSigner.VCEK)
    assert claims.reported_tcb == SnpTcb(fmc=0, bootloader=3, tee=0, snp=8, microcode=115)
    assert (claims.vmpl, claims.debug, claims.chip_masked) == (0, False, False)
    assert claims.measured.startswith("sha384:a1f3930413247bb3")


def test_vlek_report_of_milan_holds_and_names_its_cloud():
    claims = verify_snp(VLEK_REPORT, *VLEK)
    assert (claims.version, claims.line, claims.signer, claims.vmpl) == (3, SnpLine.MILAN, SnpSigner.VLEK, 1)
    assert claims.csp_id == "CN=cc-us-east-2.amazonaws.com"


@pytest.mark.parametrize("vcek", ["snp/trustee-test-vcek-invalid-legacy.der", "snp/trustee-test-vcek-invalid-new.der"])
def test_tampered_vcek_is_refused_because_amd_did_not_sign_it(vcek):
    with pytest.raises(TrustError, match="SEV-VCEK is not signed by SEV-Milan"):
        verify_snp(REPORT, vcek, *MILAN)


def test_vlek_report_with_a_vcek_is_refused():
    with pytest.raises(TrustError, match="the VLEK is not given"):
        verify_snp(VLEK_REPORT, *VCEK)


def test_vcek_report_with_the_chain_of_genoa_is_refused():
    with pytest.raises(TrustError, match="its issuer"):
        verify_snp(REPORT, VCEK[0], "snp/amd-ask-genoa.pem", "snp/amd-ark-genoa.pem")


def test_vlek_that_has_run_out_is_refused():
    with pytest.raises(TrustError, match="SEV-VLEK is not in force"):
        verify_snp(VLEK_REPORT, *VLEK, now=SNP_AT.replace(year=2026))


def test_phala_quote_holds_and_is_up_to_date():
    claims = verify_quote(read(QUOTE), pieces(*PHALA), now=TDX_AT, steps=Steps())
    assert (claims.version, claims.status, claims.debug, claims.tcb_evaluation) == (4, "UpToDate", False, 17)
    assert (claims.smt, claims.dynamic_platform, claims.cached_keys) == (True, True, True)
    assert claims.mr_td.hex().startswith("91eb2b44d141d4ec")


def test_phala_quote_with_collateral_that_has_run_out_is_refused():
    with pytest.raises(TrustError, match="TCBInfo expired"):
        verify_quote(read(QUOTE), pieces(*PHALA), now=TDX_AT.replace(month=8), steps=Steps())


def test_quote_without_collateral_is_refused():
    with pytest.raises(TrustError, match="collateral lacks"):
        verify_quote(read(QUOTE), pieces(), now=TDX_AT, steps=Steps())


def test_google_quote_whose_collateral_lacks_the_signing_chain_is_refused_for_that():
    with pytest.raises(TrustError, match="TCB signing key"):
        verify_quote(read(GOOGLE_QUOTE), pieces(*GOOGLE), now=TDX_AT.replace(year=2023), steps=Steps())


def test_google_quote_with_a_signing_chain_of_another_time_is_refused():
    with pytest.raises(TrustError, match="certificate chain"):
        verify_quote(
            read(GOOGLE_QUOTE), _with_chain(pieces(*GOOGLE)), now=TDX_AT.replace(year=2023), steps=Steps()
        )  # fmt: skip


def _with_chain(given):
    chain = [each for each in pieces(*PHALA).certificates if each.common_name == "Intel SGX TCB Signing"]
    return type(given)(certificates=tuple(chain), crls=given.crls, documents=given.documents)


def test_nitro_document_holds():
    claims = verify_nitro(read(DOCUMENT), now=NITRO_AT, steps=Steps())
    assert not claims.debug
    assert codes(appraise(claims, None, now=NITRO_AT), Outcome.FAILS) == ()


def test_nitro_document_is_refused_after_its_certificate_has_run_out():
    with pytest.raises(TrustError, match="not in force"):
        verify_nitro(read(DOCUMENT), now=SNP_AT, steps=Steps())


def test_nitro_debug_document_is_truly_signed_and_refused_by_policy():
    claims = verify_nitro(read(DEBUG_DOCUMENT), now=NITRO_DEBUG_AT, steps=Steps())
    assert claims.debug
    assert codes(appraise(claims, None, now=NITRO_DEBUG_AT), Outcome.FAILS) == ("debug-enabled",)
