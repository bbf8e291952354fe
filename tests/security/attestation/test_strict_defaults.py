"""Policy files that say no more than they must: what hardware they refuse, and the one item that relaxes each demand.

Every vector is signed by a maker of our own and verified before; only the policy tells it from a sound one.
"""

import json
from dataclasses import replace

import pytest

from opaque_jobs.attestation.appraisal import Outcome, appraise_for, codes
from opaque_jobs.attestation.claims import SnpClaims
from opaque_jobs.attestation.collateral import parse_pieces
from opaque_jobs.attestation.dcap import verify_quote
from opaque_jobs.attestation.nitro import verify_nitro
from opaque_jobs.attestation.policy_gaps import gaps_by_kind
from opaque_jobs.attestation.sev_snp import verify_snp
from opaque_jobs.attestation.steps import Steps
from opaque_jobs.cli.tee_policy import read_policies
from opaque_jobs.domain.tee_policy import SnpLine, SnpSigner
from opaque_jobs.errors import InvalidInputError, TrustError
from tests.support.amd_simulator import CHIP, DAY, LEVELS, MEASUREMENT, NOW, OID, TCB_ORDER, AmdMaker, der_text, make_crl, rsa_key
from tests.support.intel_simulator import FIRMWARE, IntelMaker
from tests.support.nitro_simulator import IMAGE, NitroMaker
from tests.support.vectors import NITRO_AT, PHALA, SNP_AT, TDX_AT, VCEK, VLEK, needs_vectors, pieces, read

LOWEST = {"bootloader": 4, "tee": 0, "snp": 24, "microcode": 219}
CLOUD = "CN=cloud.test"
SNP = {
    "measurements": [MEASUREMENT.hex()],
    "platforms": [{"line": "Milan", "minimum_tcb": LOWEST}],
    "chip_ids": [CHIP.hex()],
}
TDX = {
    "measurements": [{"mr_td": FIRMWARE.hex(), "rt_mr0": "10" * 48, "rt_mr1": "11" * 48, "rt_mr2": "12" * 48}],
    "td_attributes": ["0000001000000000"],
    "xfam": ["e702060000000000"],
}
NITRO = {"pcrs": {"0": [IMAGE.hex()], "1": ["01" * 48], "2": ["02" * 48]}}


@pytest.fixture
def written(tmp_path):
    """Reads a policy file of one kind, as people write it."""

    def read_back(**policy):
        file = tmp_path / "policy.json"
        file.write_text(json.dumps(policy))
        return read_policies(file).policies

    return read_back


def judged(claims, policy):
    """Give what fails and what is a warning."""
    findings = appraise_for(claims, policy, now=NOW)
    return codes(findings, Outcome.FAILS), codes(findings, Outcome.WARNING)


def crl(age=DAY):
    return make_crl("ARK-Milan", signer=rsa_key("root"), since=NOW - age, until=NOW + DAY)


def snp_claims(maker=None, crls=None, **report) -> SnpClaims:
    maker = maker or AmdMaker()
    chain = maker.chain()
    given = (crl(),) if crls is None else crls
    return verify_snp(maker.report(**report), chain, given, now=NOW, steps=Steps(), roots=maker.roots(chain))


def levels(microcode):
    return bytes((LEVELS | {8: microcode})[arc] for arc in TCB_ORDER[SnpLine.MILAN])


def put(at, value):
    return lambda raw: raw.__setitem__(at, value)


def lower(name):
    return {"platforms": [SNP["platforms"][0] | {name: LOWEST | {"microcode": 218}}]}


OTHER_CHIP = CHIP[::-1]
RESERVED = {"allow_reserved_bits": True}
SNP_VECTORS = {
    "alias check not complete": ({"platform_info": 0x05}, {"allow_incomplete_alias_check": True}, "alias-check-incomplete"),
    "launched by older firmware": ({"launch_tcb": levels(218)}, lower("minimum_launch_tcb"), "launch-tcb-too-old"),
    "committed to older firmware": ({"committed_tcb": levels(218)}, lower("minimum_committed_tcb"), "committed-tcb-too-old"),
    "memory on CXL": ({"policy": 1 << 17 | 1 << 21}, {"allow_cxl": True}, "cxl-allowed"),
    **{
        f"guest policy with reserved bit {bit}": ({"policy": 1 << 17 | 1 << bit}, RESERVED, "reserved-bits-set")
        for bit in (26, 63)
    },
    "guest policy without the bit that must be set": ({"policy": 0}, RESERVED, "reserved-bits-set"),
    **{
        f"platform with reserved bit {bit}": ({"platform_info": 0x25 | 1 << bit}, RESERVED, "reserved-bits-set")
        for bit in (8, 63)
    },
    **{
        f"reserved byte {at:#x} in version {version}": (
            {"version": version, "change": put(at, 1)}, RESERVED, "reserved-bits-set",
        )
        for version, at in (
            (3, 0x48 + 1), (3, 0x4C), (3, 0x4F), (3, 0x18B), (3, 0x19F), (3, 0x1EB), (3, 0x1EF), (3, 0x1F8), (3, 0x200),
            (3, 0x207), (3, 0x29F), (2, 0x188), (2, 0x18A), (4, 0x1F8), (5, 0x208), (5, 0x29F),
        )
    },
    "flag of the signing key with reserved bit 5": ({"flags": 1 << 5}, RESERVED, "reserved-bits-set"),
    "another chip": (
        {"maker": AmdMaker(leaf_extensions={f"{OID}4": OTHER_CHIP}), "chip_id": OTHER_CHIP}, {"chip_ids": None},
        "chip-not-approved",
    ),
    "another chip that hides": (
        {"maker": AmdMaker(leaf_extensions={f"{OID}4": OTHER_CHIP}), "chip_id": bytes(64)},
        {"chip_ids": None, "allow_masked_chip": True}, "chip-not-approved",
    ),
    "revocation list of 31 days": ({"crls": (crl(DAY * 31),)}, {"max_crl_age_days": 31}, "collateral-too-old"),
    "no revocation list": ({"crls": ()}, {"max_crl_age_days": None}, "collateral-too-old"),
}  # fmt: skip
WARNS = {
    "alias-check-incomplete": ("alias-check-incomplete",),
    "launch-tcb-too-old": ("tcb-out-of-date",),
    "committed-tcb-too-old": ("tcb-out-of-date",),
    "cxl-allowed": ("cxl-allowed",),
    "reserved-bits-set": ("reserved-bits-set",),
    "chip-not-approved": ("chip-not-demanded",),
    "collateral-too-old": ("revocations-not-demanded",),
}


@pytest.mark.parametrize("version", [2, 3, 4, 5])
def test_snp_report_of_every_version_that_is_as_it_has_to_be_meets_a_policy_of_defaults(written, version):
    assert judged(snp_claims(version=version), written(**{"sev-snp": SNP})) == ((), ())


def test_snp_report_with_every_bit_that_is_defined_but_debug_migration_and_cxl_meets_a_policy_of_defaults(written):
    policy = (1 << 26) - 1 & ~(1 << 18 | 1 << 19 | 1 << 21)
    claims = snp_claims(version=5, policy=policy, platform_info=0xFF, change=put(0x1F8, 1))
    assert judged(claims, written(**{"sev-snp": SNP})) == ((), ())


@pytest.mark.parametrize("vector", SNP_VECTORS)
def test_snp_vector_is_refused_by_default_for_one_reason_and_its_relaxing_item_leaves_a_warning(written, vector):
    given, relaxed, code = SNP_VECTORS[vector]
    claims = snp_claims(**given)
    refused = judged(claims, written(**{"sev-snp": SNP | {"allow_masked_chip": True}}))
    assert refused[0] == (code,)
    taken = judged(claims, written(**{"sev-snp": SNP | relaxed}))
    assert taken[0] == ()
    assert taken[1] == (() if vector == "revocation list of 31 days" else WARNS[code])


def test_chip_that_hides_from_the_report_is_told_by_its_key(written):
    hidden = snp_claims(chip_id=bytes(64))
    assert judged(hidden, written(**{"sev-snp": SNP})) == (("chip-masked",), ())
    assert judged(hidden, written(**{"sev-snp": SNP | {"allow_masked_chip": True}})) == ((), ())


@pytest.mark.parametrize("at", ["launch_tcb", "committed_tcb"])
def test_snp_report_whose_older_patch_levels_have_a_reserved_byte_set_does_not_parse(at):
    with pytest.raises(InvalidInputError, match="reserved byte"):
        snp_claims(**{at: bytes((4, 0, 1, 0, 0, 0, 24, 219))})


def test_snp_report_by_the_key_of_another_cloud_provider_is_refused_unless_any_will_do(written):
    by_cloud = {name: value for name, value in SNP.items() if name != "chip_ids"} | {"signers": ["vlek"]}
    ours = snp_claims(AmdMaker(signer=SnpSigner.VLEK))
    other = snp_claims(AmdMaker(signer=SnpSigner.VLEK, leaf_extensions={f"{OID}5": der_text("CN=other.test")}))
    pinned, anybodys = (written(**{"sev-snp": by_cloud | {"csp_ids": each}}) for each in ([CLOUD], None))
    assert judged(ours, pinned) == ((), ())
    assert judged(other, pinned) == (("provider-not-approved",), ())
    assert judged(other, anybodys) == ((), ("provider-not-demanded",))


@pytest.mark.parametrize(("signers", "item"), [(["vcek"], "chip_ids"), (["vlek"], "csp_ids")])
def test_snp_policy_that_leaves_open_whose_key_signs_without_saying_so_is_refused(written, signers, item):
    silent = {name: value for name, value in SNP.items() if name != "chip_ids"} | {"signers": signers}
    with pytest.raises(InvalidInputError, match=f"without '{item}'") as caught:
        written(**{"sev-snp": silent})
    assert "null accepts any" in caught.value.hint


def tdx_claims(**body):
    maker = IntelMaker()
    collateral = parse_pieces([json.dumps(maker.collateral()).encode()])
    return verify_quote(maker.quote(**body), collateral, now=NOW, steps=Steps(), roots=maker.roots)


REGISTERS = {"rt_mr0": None, "rt_mr1": "11" * 48, "rt_mr2": "12" * 48}
TDX_VECTORS = {
    "another set-up": (
        {"rt_mr0": b"\x20" * 48}, {"measurements": [{"mr_td": FIRMWARE.hex()} | REGISTERS]}, "measurement-not-approved",
        "rt-mr0-not-demanded",
    ),
    **{
        f"attribute {bit}": (
            {"td_attributes": (1 << 28 | 1 << bit).to_bytes(8, "little")}, {"td_attributes": None}, "td-attributes-not-approved",
            "td-attributes-not-demanded",
        )
        for bit in (16, 18, 19, 20, 21, 22, 27, 30, 31, 62, 63)
    },
    "another feature": (
        {"xfam": b"\xe7\2\7" + bytes(5)}, {"xfam": None}, "xfam-not-approved", "xfam-not-demanded",
    ),
}  # fmt: skip


def test_tdx_quote_that_is_as_it_has_to_be_meets_a_whole_policy(written):
    assert judged(tdx_claims(), written(tdx=TDX)) == ((), ())
    several = TDX | {"td_attributes": ["0000005000000000", *TDX["td_attributes"]], "xfam": ["e700060000000000", *TDX["xfam"]]}
    assert judged(tdx_claims(), written(tdx=several)) == ((), ())


@pytest.mark.parametrize("vector", TDX_VECTORS)
def test_tdx_vector_is_refused_for_one_reason_and_without_the_demand_it_is_a_warning(written, vector):
    body, relaxed, code, warning = TDX_VECTORS[vector]
    claims = tdx_claims(**body)
    assert judged(claims, written(tdx=TDX)) == ((code,), ())
    assert judged(claims, written(tdx=TDX | relaxed)) == ((), (warning,))
    assert judged(tdx_claims(), written(tdx=TDX | relaxed)) == ((), (warning,))


@pytest.mark.parametrize("bit", [0, 7, 8, 15, 17, 23, 26, 29, 32, 61])
def test_tdx_quote_with_a_debug_or_reserved_attribute_is_refused_whatever_the_policy(bit):
    with pytest.raises(TrustError, match="does not hold"):
        tdx_claims(td_attributes=(1 << 28 | 1 << bit).to_bytes(8, "little"))


def nitro_claims(**over):
    raw, roots = NitroMaker().document(**over)
    return verify_nitro(raw, now=NOW, steps=Steps(), roots=roots)


def test_nitro_document_that_is_as_it_has_to_be_meets_a_whole_policy(written):
    assert judged(nitro_claims(), written(nitro=NITRO)) == ((), ())


@pytest.mark.parametrize("number", ["1", "2"])
def test_nitro_register_of_the_image_is_compared_or_its_absence_is_a_warning(written, number):
    pcrs = {0: IMAGE, 1: b"\1" * 48, 2: b"\2" * 48} | {int(number): b"\7" * 48}
    claims = nitro_claims(pcrs=pcrs)
    assert judged(claims, written(nitro=NITRO)) == (("measurement-not-approved",), ())
    less = {"pcrs": {name: values for name, values in NITRO["pcrs"].items() if name != number}}
    assert judged(claims, written(nitro=less)) == ((), (f"pcr{number}-not-demanded",))


@pytest.mark.parametrize("number", [0, 1, 2])
def test_nitro_document_with_an_image_register_of_zeros_is_of_a_debug_enclave(written, number):
    claims = nitro_claims(pcrs={0: IMAGE, 1: b"\1" * 48, 2: b"\2" * 48} | {number: bytes(48)})
    only_image = {"pcrs": {"0": NITRO["pcrs"]["0"]}}
    assert "debug-enabled" in judged(claims, written(nitro=only_image))[0]


def test_gaps_are_told_of_a_policy_before_there_is_evidence(written):
    open_snp = SNP | {"chip_ids": None, "csp_ids": None, "signers": ["vcek", "vlek"], "max_crl_age_days": None}
    open_tdx = {"measurements": [{"mr_td": FIRMWARE.hex()} | REGISTERS]}
    given = written(**{"sev-snp": open_snp}, tdx=open_tdx, nitro={"pcrs": {"0": [IMAGE.hex()]}})
    assert {kind: [each.code for each in found] for kind, found in gaps_by_kind(given).items()} == {
        "sev-snp": ["chip-not-demanded", "provider-not-demanded", "revocations-not-demanded"],
        "tdx": ["rt-mr0-not-demanded", "td-attributes-not-demanded", "xfam-not-demanded"],
        "nitro": ["pcr1-not-demanded", "pcr2-not-demanded"],
    }
    assert gaps_by_kind(written(**{"sev-snp": SNP}, tdx=TDX, nitro=NITRO)) == {}


MILAN_REPORT = {
    "measurements": ["a1f3930413247bb38cfc171579ea3c12d5fe4901f0c792f63fd75d98f1ef827c23500644e0e692e6be917f9050d3d38c"],
    "platforms": [{"line": "Milan", "minimum_tcb": {"bootloader": 3, "tee": 0, "snp": 8, "microcode": 115}}],
    "chip_ids": [
        "c38427a30d4c7af9d96f7a15b97269825a64cb76a2352ffd5d18115d89ad473f8e8c0bcd9a5d9286612bad4aadfb4426205a3b9e4fea82301135a170e477524e"
    ],
}
CLOUD_REPORT = {
    "measurements": ["8922ebbdd00ec2c541f36a6e7a82a8773a7accb451ed67bc94e740dbe92c93c4e8c9af857f5ceeb5a493df2a570d7bf0"],
    "platforms": [{"line": "Milan", "minimum_tcb": {"bootloader": 4, "tee": 0, "snp": 24, "microcode": 217}}],
    "signers": ["vlek"],
    "csp_ids": ["CN=cc-us-east-2.amazonaws.com"],
}


@needs_vectors
@pytest.mark.parametrize(
    ("report", "beside", "policy", "refused", "relaxed", "warned"),
    [
        (
            "snp/trustee-test-report.bin", VCEK, MILAN_REPORT, ("alias-check-incomplete", "collateral-too-old"),
            {"allow_incomplete_alias_check": True, "max_crl_age_days": None},
            ("alias-check-incomplete", "revocations-not-demanded"),
        ),
        (
            "snp/trustee-test-vlek-report.bin", VLEK, CLOUD_REPORT, ("collateral-too-old", "vmpl-too-high"),
            {"max_vmpl": 1, "max_crl_age_days": None}, ("revocations-not-demanded",),
        ),
    ],
)  # fmt: skip
def test_real_snp_report_is_refused_by_default_and_taken_by_named_items(  # noqa: PLR0917
    written, report, beside, policy, refused, relaxed, warned
):
    given = pieces(*beside)
    claims = verify_snp(read(report), given.certificates, given.crls, now=SNP_AT, steps=Steps())
    assert judged(claims, written(**{"sev-snp": policy}))[0] == refused
    assert judged(claims, written(**{"sev-snp": policy | relaxed})) == ((), warned)


@needs_vectors
def test_real_quote_and_document_meet_a_whole_policy(written):
    claims = verify_quote(read("tdx/phala-tdx_quote"), pieces(*PHALA), now=TDX_AT, steps=Steps())
    booted = {"mr_td": claims.mr_td.hex()} | {f"rt_mr{number}": each.hex() for number, each in enumerate(claims.rt_mrs)}
    findings = appraise_for(claims, written(tdx=TDX | {"measurements": [booted]}), now=TDX_AT)
    assert {each.outcome for each in findings} == {Outcome.HOLDS}
    document = verify_nitro(read("nitro/evervault-valid-attestation-doc.cbor"), now=NITRO_AT, steps=Steps())
    image = {str(number): [document.pcrs[number].hex()] for number in (0, 1, 2)}
    assert judged(document, written(nitro={"pcrs": image})) == ((), ())
    assert not replace(document, pcrs={0: document.pcrs[0]}).debug
