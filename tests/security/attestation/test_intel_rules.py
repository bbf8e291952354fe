"""Intel quotes of every version and body: each rule broken once, with a maker of our own whose root the verifier believes.

Most of these rules are the library's to keep; a test each tells when a newer one keeps fewer.
"""

import json
import struct
from dataclasses import replace
from datetime import timedelta

import pytest

from opaque_jobs.attestation import dcap, quote_layout
from opaque_jobs.attestation.appraisal import Outcome, appraise, codes
from opaque_jobs.attestation.certificates import pem_text
from opaque_jobs.attestation.claims import SgxClaims, TdxClaims
from opaque_jobs.attestation.collateral import parse_pieces
from opaque_jobs.attestation.dcap import quote_claims, verify_quote
from opaque_jobs.attestation.envelope import EvidenceEnvelope
from opaque_jobs.attestation.hardware import MAKERS, HardwareVerifier, hardware_verifiers, verify_claims
from opaque_jobs.attestation.quote_layout import quote_length, split_quote
from opaque_jobs.attestation.steps import Steps
from opaque_jobs.domain.job import TeeKind
from opaque_jobs.errors import InvalidInputError, OpaqueJobsError, TrustError
from tests.support.amd_simulator import DAY, NOW
from tests.support.intel_simulator import ENCLAVE, FIRMWARE, FMSPC, REPORT_DATA, SGX, IntelMaker

FORMS = {
    "SGX, version 3": {"kind": SGX, "version": 3},
    "TDX 1.0, version 4": {},
    "TDX 1.0, version 5": {"version": 5},
    "TDX 1.5, version 5": {"version": 5, "body_type": 3},
    "TDX 1.5 extended, version 5": {"version": 5, "body_type": 4},
}


def verify(maker, raw=None, beside=None, *, now=NOW, roots=None):
    pieces = parse_pieces([json.dumps(maker.collateral()).encode()] if beside is None else beside)
    quote = maker.quote() if raw is None else raw
    return verify_quote(quote, pieces, now=now, steps=Steps(), roots=maker.roots if roots is None else roots)


@pytest.mark.parametrize("form", FORMS)
def test_quote_of_every_version_and_body_holds(form):
    maker = IntelMaker(**FORMS[form])
    claims = verify(maker)
    assert (claims.version, claims.status, claims.debug) == (maker.version, "UpToDate", False)
    assert (claims.report_data, claims.tcb_evaluation, claims.collateral_issued) == (REPORT_DATA, 17, maker.issued)
    match claims:
        case SgxClaims():
            assert (maker.kind, claims.mr_enclave) == (SGX, ENCLAVE)
        case TdxClaims():
            assert (claims.mr_td, claims.rt_mrs[1], claims.mr_config_id) == (FIRMWARE, b"\x11" * 48, b"\2" * 48)
            assert not claims.migratable


@pytest.mark.parametrize("form", FORMS)
def test_bytes_flipped_in_a_quote_of_every_version_are_refused(form):
    """A sample of all that is signed; the long mode takes every byte."""
    maker = IntelMaker(**FORMS[form])
    raw, beside = maker.quote(), [json.dumps(maker.collateral()).encode()]
    pieces = parse_pieces(beside)
    for place in range(0, raw.index(b"-----BEGIN"), 29):
        changed = bytearray(raw)
        changed[place] ^= 1 << place % 8
        with pytest.raises(OpaqueJobsError):
            verify_quote(bytes(changed), pieces, now=NOW, steps=Steps(), roots=maker.roots)


@pytest.mark.long
@pytest.mark.parametrize("form", FORMS)
def test_every_byte_flipped_in_a_quote_of_every_version_is_refused(form):
    maker = IntelMaker(**FORMS[form])
    raw, pieces = maker.quote(), parse_pieces([json.dumps(maker.collateral()).encode()])
    for place in range(len(raw)):
        changed = bytearray(raw)
        changed[place] ^= 1 << place % 8
        with pytest.raises(OpaqueJobsError):
            verify_quote(bytes(changed), pieces, now=NOW, steps=Steps(), roots=maker.roots)


@pytest.mark.parametrize("form", FORMS)
def test_quote_whose_certificates_come_apart_holds_like_one_that_brings_them(form):
    maker = IntelMaker(**FORMS[form])
    whole = json.dumps(maker.collateral()).encode()
    chain = pem_text(maker.ders()).encode()
    apart = maker.quote(chain=())
    assert verify(maker, apart, [whole, chain]) == verify(maker)
    with_own = json.dumps(maker.collateral() | {"pck_certificate_chain": chain.decode()}).encode()
    assert verify(maker, apart, [with_own]) == verify(maker)
    with pytest.raises(TrustError, match="lacks the platform's certificate"):
        verify(maker, apart, [whole])


def test_quote_whose_certificates_come_apart_is_not_believed_with_those_of_another_platform():
    maker, other = IntelMaker(), IntelMaker(pck_over={"key": "p256-other"})
    chain = pem_text(other.ders()).encode()
    with pytest.raises(TrustError, match="does not hold"):
        verify(maker, maker.quote(chain=()), [json.dumps(other.collateral()).encode(), chain], roots=other.roots)


RULES = {
    "quote signed by another key": ({}, {"attester": "p256-other"}),
    "enclave's report signed by another platform": ({}, {"reporter": "p256-other"}),
    "key that is not bound by the quoting enclave": ({}, {"bound": bytes(32)}),
    "platform's certificate by another issuer": ({"pck_signer": "p256-other"}, {}),
    "platform's certificate run out": ({"pck_over": {"not_after": NOW - DAY / 2}}, {}),
    "platform's certificate not yet in force": ({"pck_over": {"not_before": NOW + DAY / 2}}, {}),
    "revoked platform": ({"revoked": (77,)}, {}),
    "collateral by another key": ({"collateral_signer": "p256-other"}, {}),
    "collateral run out": ({"until": NOW - DAY / 2}, {}),
    "collateral of another platform": ({"tcb_over": {"fmspc": "00" * 6}}, {}),
    "collateral of another provisioning enclave": ({"tcb_over": {"pceId": "0001"}}, {}),
    "collateral of the other technology": ({"tcb_over": {"id": "SGX"}}, {}),
    "identity of the other technology": ({"identity_over": {"id": "QE"}}, {}),
    "quoting enclave by another signer": ({}, {"qe": {"mr_signer": b"\x66" * 32}}),
    "quoting enclave of another product": ({}, {"qe": {"isv_prod_id": b"\1\0"}}),
    "quoting enclave under debug": ({}, {"qe": {"attributes": b"\x13" + bytes(15)}}),
    "quoting enclave with another selection": ({}, {"qe": {"misc": b"\1\0\0\0"}}),
    "platform that Intel calls revoked": ({"status": "Revoked"}, {}),
    "module by another signer": ({}, {"mr_signer_seam": b"\1" * 48}),
    "module with attributes": ({}, {"seam_attributes": b"\1" + bytes(7)}),
}


@pytest.mark.parametrize("case", RULES)
def test_quote_that_breaks_one_rule_is_refused(case):
    made, quoted = RULES[case]
    maker = IntelMaker(**made)
    with pytest.raises(TrustError, match=r"does not hold|for another platform"):
        verify(maker, maker.quote(**quoted))


def test_root_that_is_not_pinned_is_refused_though_it_has_intels_names():
    with pytest.raises(TrustError, match="root that is not pinned"):
        verify(IntelMaker(), roots={})


def test_chain_without_its_issuer_is_refused():
    maker = IntelMaker()
    leaf, _, root = maker.ders()
    with pytest.raises(TrustError, match="not PCK, issuer and root"):
        verify(maker, maker.quote(chain=(leaf, root)))


@pytest.mark.parametrize(
    ("made", "status"),
    [({"pce_svn": 12}, "refused"), ({"svns": (1,) * 16}, "refused"), ({"status": "SWHardeningNeeded"}, "SWHardeningNeeded"),
     ({"status": "OutOfDate", "advisories": ("INTEL-SA-1",)}, "OutOfDate")],
)  # fmt: skip
def test_patch_level_of_the_platform_is_told_or_refused(made, status):
    maker = IntelMaker(**made)
    if status == "refused":
        with pytest.raises(TrustError, match="does not hold"):
            verify(maker)
        return
    claims = verify(maker)
    assert (claims.status, claims.advisories) == (status, made.get("advisories", ()))


@pytest.mark.parametrize("switch", ["smt", "dynamic", "cached"])
def test_switches_of_the_platform_are_told_to_the_policy(switch):
    claims = verify(IntelMaker(**{switch: False}))
    assert {"smt": claims.smt, "dynamic": claims.dynamic_platform, "cached": claims.cached_keys}[switch] is False


def refused(maker, raw, code):
    """A debug mode is refused: by the library already, or else by every policy."""
    try:
        claims = verify(maker, raw)
    except TrustError:
        return True
    return code in codes(appraise(claims, None, now=NOW), Outcome.FAILS)


@pytest.mark.parametrize("bit", range(8))
def test_guest_under_debug_is_refused(bit):
    maker = IntelMaker()
    assert refused(maker, maker.quote(td_attributes=bytes((1 << bit, 0, 0, 0x10)) + bytes(4)), "debug-enabled")


def test_enclave_under_debug_is_refused():
    maker = IntelMaker(kind=SGX, version=3)
    assert refused(maker, maker.quote(attributes=b"\7" + bytes(15)), "debug-enabled")


@pytest.mark.parametrize("field", ["init_service_td_hash", "cur_service_td_hash"])
def test_guest_of_the_newest_body_that_is_bound_to_a_service_guest_is_told_to_the_policy(field):
    maker = IntelMaker(version=5, body_type=4)
    assert not verify(maker).migratable
    assert verify(maker, maker.quote(**{field: bytes(47) + b"\1"})).migratable


GUESTS = {
    "that may migrate": ({}, {"td_attributes": b"\0\0\0\x30" + bytes(4)}),
    "that does not refuse exceptions by the host": ({}, {"td_attributes": bytes(8)}),
    "bound to a service guest": ({"version": 5, "body_type": 3}, {"mr_service_td": b"\1" * 48}),
}


@pytest.mark.parametrize("case", GUESTS)
def test_guest_is_refused_whatever_the_policy(case):
    made, quoted = GUESTS[case]
    maker = IntelMaker(**made)
    with pytest.raises(TrustError, match="does not hold"):
        verify(maker, maker.quote(**quoted))


@pytest.mark.parametrize("status", ["Up\x1b[31mDate", "Up\nDate", "Üp"])
def test_text_of_collateral_that_could_mislead_a_terminal_is_not_repeated(status):
    with pytest.raises(TrustError, match="does not hold") as caught:
        verify(IntelMaker(status=status))
    assert caught.value.message.isprintable()
    assert caught.value.message.isascii()


@pytest.mark.parametrize("word", ["\x1b[31m", "a\nb", "\u00fc", "x" * 161])
def test_words_of_the_library_are_repeated_only_if_they_are_short_and_plain(word):
    said = dcap._reason(ValueError(f"Verification failed: {word}"))
    assert said == ("x" * 160 if word[0] == "x" else "unknown")


ACCOUNT = {
    "header": {"version": 5},
    "tcb": {"status": "UpToDate", "advisory_ids": [], "eval_data_number": 17},
    "platform": {
        "pck": {"smt_enabled": "True", "dynamic_platform": "Undefined", "cached_keys": "False", "fmspc": [0] * 6},
        "tcb_level": {"tcbDate": "2025-11-13T00:00:00Z"},
    },
}
TD = dict.fromkeys(("mr_td", "rt_mr0", "rt_mr1", "rt_mr2", "rt_mr3", "mr_config_id"), "11" * 48) | {
    "report_data": "00" * 64,
    "xfam": "00" * 8,
}


@pytest.mark.parametrize(
    ("over", "debug", "migratable"),
    [
        ({}, False, False), ({"td_attributes": "0100001000000000"}, True, False),
        ({"td_attributes": "8000001000000000"}, True, False),
        ({"td_attributes": "0000003000000000"}, False, True), ({"mr_service_td": "00" * 47 + "01"}, False, True),
    ],
)  # fmt: skip
def test_guest_that_the_library_would_let_pass_is_still_told_to_the_policy(over, debug, migratable):
    body = TD | {"td_attributes": "0000001000000000", "mr_service_td": "00" * 48} | over
    service = body.pop("mr_service_td")
    claims = quote_claims(ACCOUNT | {"report": {"TD15": {"base": body, "mr_service_td": service}}}, NOW)
    assert (claims.debug, claims.migratable, claims.mr_td) == (debug, migratable, b"\x11" * 48)
    assert (claims.smt, claims.dynamic_platform, claims.cached_keys) == (True, None, False)


def test_enclave_that_the_library_would_let_pass_is_still_told_to_the_policy():
    body = dict.fromkeys(("mr_signer", "isv_prod_id", "isv_svn", "cpu_svn"), "") | {
        "mr_enclave": "ab" * 32,
        "report_data": "00" * 64,
    }
    for first, debug in (("05", False), ("07", True)):
        claims = quote_claims(ACCOUNT | {"report": {"SgxEnclave": body | {"attributes": first + "00" * 15}}}, NOW)
        assert claims.debug is debug


def test_body_of_an_unknown_kind_is_refused():
    with pytest.raises(InvalidInputError, match="kind that is not known"):
        quote_claims(ACCOUNT | {"report": {"TD20": TD | {"td_attributes": "00" * 8}}}, NOW)


@pytest.mark.parametrize(("status", "told"), [("UpToDate", "UpToDate"), ("OutOfDate", "OutOfDate"), ("Revoked", "")])
def test_patch_level_of_the_quoting_enclave_counts_too(status, told):
    level = {"tcb": {"isvsvn": 4}, "tcbDate": "2025-11-13T00:00:00Z", "tcbStatus": status}
    maker = IntelMaker(identity_over={"tcbLevels": [level]})
    if told:
        assert verify(maker).status == told
    else:
        with pytest.raises(TrustError, match="does not hold"):
            verify(maker)


@pytest.mark.parametrize("sgx_type", range(4))
def test_platform_of_every_known_type_holds(sgx_type):
    maker = IntelMaker(sgx_type=sgx_type)
    if sgx_type < 3:
        assert verify(maker).status == "UpToDate"
    else:
        with pytest.raises(TrustError, match="does not hold"):
            verify(maker)


def test_age_of_collateral_is_that_of_its_oldest_part():
    maker = IntelMaker(identity_over={"issueDate": "2025-12-01T00:00:00Z"})
    assert NOW - verify(maker).collateral_issued == timedelta(days=45, hours=12)


@pytest.mark.parametrize("form", FORMS)
def test_answers_of_intels_service_hold_like_the_whole(form):
    maker = IntelMaker(**FORMS[form])
    assert verify(maker, beside=maker.answers()) == verify(maker)
    library = maker.collateral()
    for name, answer in zip(("tcb_info", "qe_identity"), maker.answers(), strict=False):
        library[name] = answer.decode()
        del library[f"{name}_signature"]
    assert verify(maker, beside=[json.dumps(library).encode()]) == verify(maker)


@pytest.mark.parametrize("date", ["", "yesterday", "2025-12-01T00:00:00", 1])
def test_collateral_without_a_date_is_refused(date):
    with pytest.raises(OpaqueJobsError):
        verify(IntelMaker(identity_over={"issueDate": date}))


@pytest.mark.parametrize("part", ["tcb_info", "qe_identity"])
@pytest.mark.parametrize("text", ["", "{}", "[]", "1", "null", "{", "[" * 100_000, '{"issueDate": []}'])
def test_collateral_that_names_no_date_in_any_other_form_is_an_input_error(part, text):
    with pytest.raises(InvalidInputError):
        verify(IntelMaker(), beside=[json.dumps(IntelMaker().collateral() | {part: text}).encode()])


@pytest.mark.parametrize("part", sorted(IntelMaker().collateral()))
def test_collateral_with_a_part_that_is_no_text_is_an_input_error(part):
    for value in (None, 1, {}, ["x"], "\ud800"):
        with pytest.raises(InvalidInputError):
            parse_pieces([json.dumps(IntelMaker().collateral() | {part: value}).encode()])


@pytest.mark.parametrize("part", ["tcb_info_signature", "qe_identity_signature"])
@pytest.mark.parametrize("signature", ["", "xy" * 64, "00" * 63, "00" * 65, "00" * 63 + "0 "])
def test_collateral_with_a_signature_of_another_form_is_refused(part, signature):
    with pytest.raises(TrustError, match="lacks Intel's"):
        verify(IntelMaker(), beside=[json.dumps(IntelMaker().collateral() | {part: signature}).encode()])


def test_what_a_tool_adds_to_the_collateral_is_passed_over():
    maker = IntelMaker()
    for more in ({"pck_certificate_chain": None}, {"pck_certificate_chain": ""}, {"tool": 1, "other_chain": "x", "other_crl": 1}):
        assert verify(maker, beside=[json.dumps(maker.collateral() | more).encode()]) == verify(maker)


@pytest.mark.parametrize(
    "answer",
    [b'{"tcbInfo":[{"a":1}],"signature":"00"}', b'{"tcbInfo":1,"signature":"00"}', b'{"tcbInfo":{},"signature":"}"}',
     b'{"tcbInfo":[],"signature":"{"}'],
)  # fmt: skip
def test_answer_whose_signed_text_cannot_be_found_is_an_input_error(answer):
    with pytest.raises(InvalidInputError):
        parse_pieces([answer])


def test_quote_of_an_enclave_is_not_taken_for_one_of_a_guest():
    for maker, holds in ((IntelMaker(), True), (IntelMaker(kind=SGX, version=3), False)):
        verifier = HardwareVerifier(kind=TeeKind.TDX, anchors=replace(MAKERS, intel=maker.roots))
        envelope = EvidenceEnvelope.of(TeeKind.TDX, maker.quote(), [json.dumps(maker.collateral()).encode()])
        if holds:
            assert verifier.verify(envelope.to_bytes(), now=NOW).kind is TeeKind.TDX
        else:
            with pytest.raises(TrustError, match="SGX enclave"):
                verifier.verify(envelope.to_bytes(), now=NOW)


def test_simulation_is_no_hardware():
    assert set(hardware_verifiers()) == set(TeeKind) - {TeeKind.SIMULATED}
    with pytest.raises(TrustError, match="not made by hardware"):
        verify_claims(TeeKind.SIMULATED, IntelMaker().quote(), parse_pieces([]), now=NOW, steps=Steps())


@pytest.mark.parametrize("version", [0, 2, 6])
def test_quote_of_an_unknown_version_is_refused(version):
    maker = IntelMaker(kind=SGX, version=3)
    with pytest.raises(InvalidInputError, match="no quote of a known version"):
        verify(maker, bytes((version,)) + maker.quote()[1:])


@pytest.mark.parametrize(
    ("version", "typed"),
    [(3, b""), (5, struct.pack("<HI", 2, 585)), (5, struct.pack("<HI", 2, 0)), (5, struct.pack("<HI", 9, 584)),
     (5, struct.pack("<HI", 1, 384)), (5, struct.pack("<HI", 4, 4097))],
)  # fmt: skip
def test_guests_quote_with_a_body_of_an_unknown_type_or_size_is_refused(version, typed):
    raw = IntelMaker().quote() + bytes(4096)
    with pytest.raises(InvalidInputError, match="body of an unknown type"):
        quote_length(bytes((version,)) + raw[1:48] + typed + raw[48:])


@pytest.mark.parametrize("form", FORMS)
def test_length_of_a_quote_that_is_cut_short_is_not_told(form):
    raw = IntelMaker(**FORMS[form]).quote()
    assert quote_length(raw) == len(raw)
    for size in (28, 47, 48, 50, 53, 54, 300, 400):
        with pytest.raises(InvalidInputError, match="cut short"):
            quote_length(raw[:size])


@pytest.mark.parametrize("form", FORMS)
def test_quote_that_says_it_is_longer_than_its_parts_is_refused(form):
    raw = IntelMaker(**FORMS[form]).quote()
    at = quote_layout._signature_at(raw)
    longer = raw[:at] + struct.pack("<I", int.from_bytes(raw[at : at + 4], "little") + 1) + raw[at + 4 :]
    with pytest.raises(InvalidInputError, match="cut short"):
        split_quote(longer)
    with pytest.raises(InvalidInputError, match="contradict"):
        split_quote(longer + b"\0")


@pytest.mark.parametrize("form", FORMS)
def test_quote_that_brings_a_chain_of_no_certificates_is_refused(form):
    whole = split_quote(IntelMaker(**FORMS[form]).quote())
    assert split_quote(whole.with_chain(whole.chain)).chain == whole.chain
    with pytest.raises(InvalidInputError, match="not plain PEM"):
        split_quote(whole.with_chain([]))


def test_platform_id_of_an_unknown_kind_is_refused():
    maker = IntelMaker()
    raw = maker.quote()
    at = raw.index(b"-----BEGIN") - 6
    assert raw[at : at + 2] == b"\5\0"
    for kind in (0, 4, 6, 7):
        with pytest.raises(InvalidInputError, match="no certificate chain"):
            verify(maker, raw[:at] + bytes((kind, 0)) + raw[at + 2 :])
    assert FMSPC.hex() in verify(maker).others["fmspc"]
