"""SEV-SNP: every rule of chain and report broken once, with a maker of our own whose root the verifier is told to believe."""

from dataclasses import replace

import pytest

from opaque_jobs.attestation.certificates import parse_certificate
from opaque_jobs.attestation.sev_snp import verify_snp
from opaque_jobs.attestation.steps import Steps
from opaque_jobs.domain.tee_policy import SnpLine, SnpSigner
from opaque_jobs.errors import InvalidInputError, OpaqueJobsError, TrustError
from tests.support.amd_simulator import (
    CHIP,
    DAY,
    LEVELS,
    NOW,
    OID,
    AmdMaker,
    der_integer,
    der_text,
    ec_key,
    make_certificate,
    make_crl,
    rsa_key,
    sign_report,
)
from tests.support.vectors import SNP_AT, VCEK, needs_vectors, pieces, read


def verify(maker, report=None, *, certificates=None, crls=(), now=NOW, roots=None):
    chain = maker.chain()
    return verify_snp(
        report or maker.report(),
        chain if certificates is None else certificates,
        crls,
        now=now,
        steps=Steps(),
        roots=maker.roots(chain) if roots is None else roots,
    )


@pytest.mark.parametrize("line", SnpLine)
@pytest.mark.parametrize("signer", SnpSigner)
@pytest.mark.parametrize("version", [2, 3, 4, 5])
def test_report_of_every_line_key_and_version_holds(line, signer, version):
    maker = AmdMaker(line=line, signer=signer)
    claims = verify(maker, maker.report(version=version))
    assert (claims.line, claims.signer, claims.version, claims.vmpl) == (line, signer, version, 0)
    assert claims.reported_tcb.parts == (LEVELS[9] if line is SnpLine.TURIN else 0, 4, 0, 24, 219)
    assert claims.csp_id == ("CN=cloud.test" if signer is SnpSigner.VLEK else "")


@pytest.mark.parametrize("product", ["Bergamo-A1", "Siena-A0", "Genoa-B2"])
def test_key_of_a_chip_that_shares_genoas_root_holds(product):
    assert verify(AmdMaker(line=SnpLine.GENOA, product=product)).line is SnpLine.GENOA


CHAINS = {
    "leaf not yet in force": ({"leaf_over": {"not_before": NOW + DAY / 2}}, "SEV-VCEK is not in force"),
    "leaf run out": ({"leaf_over": {"not_after": NOW - DAY / 2}}, "SEV-VCEK is not in force"),
    "issuer run out": ({"middle_over": {"not_after": NOW - DAY / 2}}, "SEV-Milan is not in force"),
    "root run out": ({"root_over": {"not_after": NOW - DAY / 2}}, "ARK-Milan is not in force"),
    "leaf signed by the root": ({"leaf_over": {"signer": rsa_key("root")}}, "SEV-VCEK is not signed by SEV-Milan"),
    "issuer signed by itself": ({"middle_over": {"signer": rsa_key("middle")}}, "SEV-Milan is not signed by ARK-Milan"),
    "issuer is no CA": ({"middle_over": {"ca": False}}, "SEV-Milan may not sign certificates"),
    "issuer has no constraints": ({"middle_over": {"basic": False}}, "SEV-Milan may not sign certificates"),
    "issuer may sign evidence only": ({"middle_over": {"usage": ("digital_signature",)}}, "SEV-Milan may not sign"),
    "root may have nothing below": ({"root_over": {"path_length": 0}}, "ARK-Milan may not have so long a chain"),
    "leaf is a CA": ({"leaf_over": {"ca": True}}, "not a certificate that signs evidence"),
    "leaf may sign certificates only": ({"leaf_over": {"usage": ("key_cert_sign",)}}, "not a certificate that signs evidence"),
    "leaf with a shorter salt": ({"leaf_over": {"salt": 32}}, "SEV-VCEK is not signed by SEV-Milan with RSA-PSS"),
    "unknown critical extension": (
        {"leaf_extensions": {"1.2.3.4": b"\x05\x00"}, "leaf_over": {"critical": "1.2.3.4"}},
        "critical extension",
    ),
    "issuer with a short key": (
        {"middle_over": {"key": rsa_key("short")}, "leaf_over": {"signer": rsa_key("short")}},
        "SEV-VCEK is not signed by SEV-Milan",
    ),
    "issuer signs by another algorithm": (
        {"middle_over": {"key": ec_key("middle")}, "leaf_over": {"signer": ec_key("middle"), "serial": 7}},
        "SEV-VCEK is not signed by SEV-Milan with RSA-PSS",
    ),
    "leaf with another curve": ({"leaf_over": {"key": ec_key("p256")}}, "not signed by the given key"),
}


@pytest.mark.parametrize("case", CHAINS)
def test_chain_that_breaks_one_rule_is_refused_for_it(case):
    over, problem = CHAINS[case]
    copied = {name: dict(value) for name, value in over.items()}
    with pytest.raises(TrustError, match=problem):
        verify(AmdMaker(**copied))


def test_root_that_is_not_pinned_is_refused_though_it_has_amds_names():
    with pytest.raises(TrustError, match="root that is not pinned"):
        verify(AmdMaker(), roots={})


def test_chain_whose_root_is_pinned_for_another_line_is_refused():
    maker = AmdMaker()
    chain = maker.chain()
    with pytest.raises(TrustError, match="mixes product lines"):
        verify(maker, certificates=chain, roots={chain[-1].fingerprint: "Genoa"})


def test_vcek_below_the_issuer_of_vleks_is_refused():
    maker = AmdMaker(leaf_over={"issuer": "SEV-VLEK-Milan"})
    other = AmdMaker(signer=SnpSigner.VLEK).chain()
    leaf = maker.chain()[0]
    with pytest.raises(TrustError, match="mixes product lines or kinds of key"):
        verify(maker, certificates=(leaf, *other[1:]), roots={other[-1].fingerprint: "Milan"})


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_chain_with_a_part_missing_or_doubled_is_refused(missing):
    maker = AmdMaker()
    chain = maker.chain()
    with pytest.raises(TrustError, match="not given"):
        verify(maker, certificates=[each for number, each in enumerate(chain) if number != missing])
    again = AmdMaker().chain()
    if again[missing].der != chain[missing].der:
        with pytest.raises(TrustError, match="more than one"):
            verify(maker, certificates=[*chain, again[missing]], roots=maker.roots(chain))


LEAVES = {
    "no patch level": ({f"{OID}3.8": None}, TrustError, "lacks an extension"),
    "no product": ({f"{OID}2": None}, TrustError, "lacks an extension"),
    "no chip": ({f"{OID}4": None}, TrustError, "lacks an extension"),
    "another product": ({f"{OID}2": der_text("Genoa-B0")}, TrustError, "another product line"),
    "another microcode": ({f"{OID}3.8": der_integer(218)}, TrustError, "other patch levels"),
    "another reserved level": ({f"{OID}3.5": der_integer(1)}, TrustError, "other patch levels"),
    "another chip": ({f"{OID}4": CHIP[::-1]}, TrustError, "another chip"),
    "a short chip": ({f"{OID}4": CHIP[:8]}, InvalidInputError, "id of another form"),
    "a level that is no number": ({f"{OID}3.8": b"\x04\x01\x05"}, InvalidInputError, "number of another form"),
    "a negative level": ({f"{OID}3.8": b"\x02\x01\xdb"}, InvalidInputError, "number of another form"),
    "a level of two bytes": ({f"{OID}3.8": b"\x02\x02\x01\xdb"}, InvalidInputError, "number of another form"),
    "a product that is no text": ({f"{OID}2": b"\x02\x01\x01"}, InvalidInputError, "text of another form"),
    "a cloud provider too": ({f"{OID}5": der_text("CN=cloud")}, TrustError, "cloud provider too"),
}


@pytest.mark.parametrize("case", LEAVES)
def test_vcek_whose_extensions_do_not_fit_the_report_is_refused(case):
    extensions, error, problem = LEAVES[case]
    with pytest.raises(error, match=problem):
        verify(AmdMaker(leaf_extensions=extensions))


def test_chip_id_as_an_octet_string_is_read_like_a_bare_one():
    verify(AmdMaker(leaf_extensions={f"{OID}4": b"\x04\x40" + CHIP}))


def test_turin_chip_id_with_more_than_its_eight_bytes_is_refused():
    maker = AmdMaker(line=SnpLine.TURIN)
    with pytest.raises(TrustError, match="another chip"):
        verify(maker, maker.report(chip_id=CHIP))


@pytest.mark.parametrize(
    ("extensions", "problem"), [({f"{OID}5": None}, "does not name a cloud"), ({f"{OID}4": CHIP}, "bound to a chip")]
)
def test_vlek_that_is_bound_to_a_chip_or_to_no_cloud_is_refused(extensions, problem):
    with pytest.raises(TrustError, match=problem):
        verify(AmdMaker(signer=SnpSigner.VLEK, leaf_extensions=extensions))


def test_masked_chip_id_is_told_to_the_policy():
    maker = AmdMaker()
    assert verify(maker, maker.report(chip_id=b"\0" * 64)).chip_masked


def _put(at, value):
    return lambda raw: raw.__setitem__(slice(at, at + len(value)), value)


REPORTS = {
    "masked key": ({"flags": 1 << 1}, TrustError, "masks the signing key"),
    "no key": ({"flags": 7 << 2}, TrustError, "not signed by a key of AMD"),
    "the other kind of key": ({"flags": 1 << 2}, TrustError, "the VLEK is not given"),
    "old patch levels": ({"tcb": bytes((4, 0, 0, 0, 0, 0, 24, 218))}, TrustError, "other patch levels"),
    "Genoa's processor": ({"change": _put(0x188, b"\x19\x11")}, TrustError, "another product line"),
    "unknown processor": ({"change": _put(0x188, b"\x1c\x01")}, TrustError, "another product line"),
    "client's processor": ({"change": _put(0x188, b"\x1a\x44")}, TrustError, "another product line"),
    "version 1": ({"version": 1}, InvalidInputError, "unknown version"),
    "version 6": ({"version": 6}, InvalidInputError, "unknown version"),
    "algorithm 0": ({"algorithm": 0}, InvalidInputError, "signature algorithm"),
    "algorithm 2": ({"algorithm": 2}, InvalidInputError, "signature algorithm"),
}


@pytest.mark.parametrize("case", REPORTS)
def test_report_that_breaks_one_rule_is_refused_for_it(case):
    over, error, problem = REPORTS[case]
    maker = AmdMaker()
    with pytest.raises(error, match=problem):
        verify(maker, maker.report(**over))


def test_processor_of_turin_is_told_by_family_and_model():
    maker = AmdMaker(line=SnpLine.TURIN)
    assert verify(maker, maker.report(change=_put(0x188, b"\x1a\x11"))).line is SnpLine.TURIN
    for cpu in (b"\x1a\x44", b"\x1b\x02"):
        with pytest.raises(TrustError, match="another product line"):
            verify(maker, maker.report(change=_put(0x188, cpu)))


@pytest.mark.parametrize("line", SnpLine)
def test_reserved_patch_level_may_be_left_out_of_the_key_but_never_be_set(line):
    gone = {f"{OID}3.{arc}": None for arc in (4, 5, 6, 7)}
    assert verify(AmdMaker(line=line, leaf_extensions=gone)).line is line
    maker = AmdMaker(line=line, leaf_extensions={f"{OID}3.7": der_integer(1)})
    levels = bytearray(maker.report()[0x180:0x188])
    levels[{SnpLine.TURIN: 6}.get(line, 5)] = 1
    with pytest.raises(InvalidInputError, match="reserved byte"):
        verify(maker, maker.report(tcb=bytes(levels)))


def test_report_of_another_length_is_refused():
    maker = AmdMaker()
    for raw in (maker.report() + b"\0", maker.report()[:-1], maker.report() * 2):
        with pytest.raises(InvalidInputError, match="another length"):
            verify(maker, raw)


def test_report_signed_by_another_key_is_refused():
    maker = AmdMaker()
    with pytest.raises(TrustError, match="not signed by the given key"):
        verify(maker, sign_report(maker.report(), ec_key("other")))


def test_report_with_an_empty_signature_is_refused():
    maker = AmdMaker()
    with pytest.raises(TrustError, match="not signed by the given key"):
        verify(maker, maker.report()[:0x2A0] + bytes(0x200))


@pytest.mark.parametrize("signer", SnpSigner)
def test_every_bit_flipped_in_a_report_is_refused(signer):
    maker = AmdMaker(signer=signer)
    chain, report = maker.chain(), maker.report()
    roots = maker.roots(chain)
    for place in range(len(report)):
        changed = bytearray(report)
        changed[place] ^= 1 << place % 8
        with pytest.raises(OpaqueJobsError):
            verify_snp(bytes(changed), chain, [], now=NOW, steps=Steps(), roots=roots)


@needs_vectors
def test_every_byte_flipped_in_a_real_report_is_refused():
    report, beside = read("snp/trustee-test-report.bin"), pieces(*VCEK)
    for place in range(len(report)):
        changed = bytearray(report)
        changed[place] ^= 0xFF
        with pytest.raises(OpaqueJobsError):
            verify_snp(bytes(changed), beside.certificates, (), now=SNP_AT, steps=Steps())


@needs_vectors
@pytest.mark.parametrize("place", range(3))
def test_every_byte_flipped_in_a_real_chain_is_refused(place):
    report, chain = read("snp/trustee-test-report.bin"), pieces(*VCEK).certificates
    for at in range(len(chain[place].der)):
        der = bytearray(chain[place].der)
        der[at] ^= 1 << at % 8
        with pytest.raises(OpaqueJobsError):
            _verify_with(report, chain, place, bytes(der))


def _verify_with(report, chain, place, der):
    changed = [*chain[:place], parse_certificate(der), *chain[place + 1 :]]
    return verify_snp(report, changed, (), now=SNP_AT, steps=Steps())


CRLS = {
    "that revokes the issuer": ({"revoked": (65537,)}, "is revoked"),
    "that is out of date": ({"until": NOW - DAY / 2}, "revocation list is not in force"),
    "from the future": ({"since": NOW + DAY / 2}, "revocation list is not in force"),
    "that the root did not sign": ({"signer": rsa_key("middle")}, "not signed by its issuer"),
}


@pytest.mark.parametrize("case", CRLS)
def test_revocation_list_is_refused(case):
    over, problem = CRLS[case]
    with pytest.raises(TrustError, match=problem):
        verify(AmdMaker(), crls=[make_crl("ARK-Milan", **({"signer": rsa_key("root")} | over))])


def test_revocation_list_by_a_certificate_that_may_sign_none_is_refused():
    crl = make_crl("SEV-Milan", signer=rsa_key("middle"))
    with pytest.raises(TrustError, match="key that may not"):
        verify(AmdMaker(), crls=[crl])


def test_revocation_list_by_the_key_that_signs_evidence_is_refused():
    maker = AmdMaker(leaf_over={"usage": ("digital_signature", "crl_sign"), "serial": 7})
    with pytest.raises(TrustError, match="key that may not"):
        verify(maker, crls=[make_crl("SEV-VCEK", signer=ec_key("leaf"))])


def test_root_that_may_have_one_issuer_below_it_holds():
    assert verify(AmdMaker(root_over={"path_length": 1})).line is SnpLine.MILAN


def test_revocation_list_that_holds_gives_its_date_and_one_of_others_is_passed_over():
    crls = [make_crl("ARK-Milan", signer=rsa_key("root")), make_crl("ARK-Genoa", signer=rsa_key("root"), revoked=(65537,))]
    assert verify(AmdMaker(), crls=crls).crl_issued == NOW - DAY
    assert verify(AmdMaker(), crls=crls[1:]).crl_issued is None


def test_certificate_that_copies_the_names_of_the_real_chain_is_refused():
    """An attacker's own chain with AMD's names, with AMD's real root put at its end."""
    maker = AmdMaker()
    leaf, middle, _ = maker.chain()
    attacker = parse_certificate(
        make_certificate("ARK-Milan", "ARK-Milan", key=rsa_key("middle"), signer=rsa_key("middle"), ca=True)
    )
    with pytest.raises(TrustError, match="SEV-Milan is not signed by ARK-Milan"):
        verify(maker, certificates=(leaf, middle, attacker), roots={attacker.fingerprint: "Milan"})
    with pytest.raises(TrustError, match="not pinned"):
        verify(maker, certificates=(leaf, middle, replace(attacker, der=b"x")), roots=maker.roots(maker.chain()))
