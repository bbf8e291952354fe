"""Evidence in the forms that common tools write: each gives the same report as the bare file, and junk gives an input error."""

import base64
import gzip
import json
import struct

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from opaque_jobs.attestation.certificates import parse_crl, pem_text
from opaque_jobs.attestation.collateral import parse_pieces
from opaque_jobs.attestation.envelope import MAX_EVIDENCE_BYTES, EvidenceEnvelope
from opaque_jobs.attestation.forms import EvidenceKind, read_evidence
from opaque_jobs.attestation.hardware import verify_claims
from opaque_jobs.attestation.packing import MAX_PACKED_BYTES, der_items, layers
from opaque_jobs.attestation.steps import Steps
from opaque_jobs.domain.canonical import MAX_DOCUMENT_BYTES, canonical_bytes
from opaque_jobs.domain.job import TeeKind
from opaque_jobs.domain.tee_policy import SnpLine, SnpSigner
from opaque_jobs.errors import InvalidInputError
from tests.support.amd_simulator import NOW, AmdMaker, make_crl, rsa_key
from tests.support.evidence_forms import as_coco_json, as_go_json, as_go_message, certificate_table
from tests.support.nitro_simulator import NitroMaker

MAKER = AmdMaker()
DERS = MAKER.ders()
REPORT = MAKER.report(version=5)
DOCUMENT, _ = NitroMaker().document()
QUOTE = struct.pack("<HHI", 4, 2, 0x81) + bytes(4) + bytes.fromhex("939a7233f79c4ca9940a0db3957f0607") + bytes(700)
SGX_QUOTE = struct.pack("<HHI", 3, 2, 0) + QUOTE[8:]
PEM = pem_text(DERS).encode()


def b64(data):
    return base64.b64encode(data).decode()


def url64(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def in_json(**fields):
    return json.dumps(fields).encode()


def coco(raw=REPORT, **beside):
    return {"attestation_report": as_coco_json(raw, spelling="new")} | beside


KERNEL_HEADER = struct.pack("<II24x", 0, 1184)
BARE = {
    "bytes": REPORT,
    "in a buffer of zeros": REPORT + bytes(2816),
    "with the kernel's header": KERNEL_HEADER + REPORT + bytes(2784),
    "hexadecimal": REPORT.hex().encode() + b"\n",
    "hexadecimal in capitals with a prefix": b"0x" + REPORT.hex().upper().encode(),
    "hexadecimal in lines": "\n".join(REPORT.hex()[at : at + 64] for at in range(0, 2368, 64)).encode(),
    "base64": b64(REPORT).encode(),
    "base64 in lines": base64.encodebytes(REPORT),
    "base64 for addresses, without padding": url64(REPORT).encode(),
    "gzip": gzip.compress(REPORT),
    "base64 of gzip": b64(gzip.compress(REPORT)).encode(),
    "cloud's header": b"HCLA" + bytes(28) + REPORT + struct.pack("<5I", 4, 1, 2, 1, 2) + b"{}",
    "JSON, report": in_json(report=b64(REPORT)),
    "JSON, numbers": in_json(report=list(REPORT)),
    "JSON, outblob": in_json(provider="sev_guest", outblob=b64(REPORT), generation=1),
    "guest components": in_json(**coco()),
    "guest components, older spelling": in_json(attestation_report=as_coco_json(MAKER.report(version=2), spelling="old")),
    "guest components, null chain": in_json(**coco(cert_chain=None)),
    "broker's request": in_json(**{"tee-pubkey": {}, "tee-evidence": {"primary_evidence": coco(), "additional_evidence": "{}"}}),
    "verifier's request": in_json(verification_requests=[{"tee": "snp", "evidence": url64(in_json(**coco()))}]),
    "verifier's older request": in_json(tee="snp", evidence=url64(in_json(**coco()))),
    "evidence as text of JSON": in_json(evidence=in_json(**coco()).decode()),
    "go-sev-guest message": as_go_message(REPORT),
    "go-sev-guest JSON": in_json(report=as_go_json(REPORT)),
    "go-sev-guest JSON in a wrapping": in_json(sevSnpAttestation={"report": as_go_json(REPORT)}),
}
WITH_CERTIFICATES = {
    "certificate table": REPORT + certificate_table(DERS),
    "certificates as PEM": REPORT + PEM,
    "certificates as DER": REPORT + b"".join(DERS),
    "our envelope": EvidenceEnvelope.of(TeeKind.SEV_SNP, REPORT, DERS).to_bytes(),
    "auxblob": in_json(outblob=b64(REPORT), auxblob=b64(certificate_table(DERS))),
    "guest components": in_json(**coco(cert_chain=[{"cert_type": "VCEK", "data": list(der)} for der in DERS])),
    "guest components, text": in_json(**coco(cert_chain=[{"cert_type": "VCEK", "data": b64(der)} for der in DERS])),
    "go-sev-guest message": as_go_message(REPORT, DERS),
    "go-sev-guest JSON": in_json(
        report=as_go_json(REPORT), certificateChain=dict(zip(("vcekCert", "askCert", "arkCert"), map(b64, DERS), strict=True))
    ),
    "virtual TPM, older": in_json(
        quote={"signature": [1], "message": [2]}, report=list(b"HCLA" + bytes(28) + REPORT + b"{}"), vcek=PEM.decode()
    ),
    "virtual TPM, newer": in_json(
        version=1, tpm_quote={"message": "AA"}, hcl_report=url64(b"HCLA" + bytes(28) + REPORT + b"{}"), vcek=PEM.decode()
    ),
    "gzip of a table": gzip.compress(REPORT + certificate_table(DERS)),
}


@pytest.mark.parametrize("form", BARE)
def test_report_in_every_form_is_the_report(form):
    found = read_evidence(BARE[form])
    expected = MAKER.report(version=2) if "older spelling" in form else REPORT
    assert (found.kind, found.report[:0x2A0], found.collateral) == (EvidenceKind.SEV_SNP, expected[:0x2A0], ())
    assert len(found.report) == 1184


@pytest.mark.parametrize("form", WITH_CERTIFICATES)
def test_report_with_its_certificates_in_every_form_holds(form):
    found = read_evidence(WITH_CERTIFICATES[form])
    beside = parse_pieces(found.collateral)
    anchors = AmdAnchors(MAKER.roots(beside.certificates))
    claims = verify_claims(TeeKind.SEV_SNP, found.report, beside, now=NOW, steps=Steps(), anchors=anchors)
    assert (claims.version, claims.signer) == (5, SnpSigner.VCEK)


class AmdAnchors:
    intel, aws = {}, {}

    def __init__(self, amd):
        self.amd = amd


@pytest.mark.parametrize("line", SnpLine)
def test_go_sev_guest_keeps_every_byte_of_a_report_of_every_line(line):
    raw = AmdMaker(line=line).report(version=5)
    assert read_evidence(as_go_message(raw)).report == raw
    assert read_evidence(in_json(report=as_go_json(raw))).report == raw


OTHERS = {
    "quote": (QUOTE, EvidenceKind.TDX, QUOTE),
    "quote, hexadecimal": (QUOTE.hex().encode(), EvidenceKind.TDX, QUOTE),
    "quote of the guest components": (in_json(quote=b64(QUOTE), cc_eventlog=None), EvidenceKind.TDX, QUOTE),
    "quote as hexadecimal in JSON": (in_json(quote=QUOTE.hex(), event_log="[]"), EvidenceKind.TDX, QUOTE),
    "quote of a trust authority's client": (in_json(tdx={"quote": b64(QUOTE), "runtime_data": ""}), EvidenceKind.TDX, QUOTE),
    "quote beside a virtual TPM": (
        in_json(tpm_quote={}, hcl_report="", td_quote=url64(QUOTE)),
        EvidenceKind.TDX,
        QUOTE,
    ),
    "SGX quote": (SGX_QUOTE, EvidenceKind.SGX, SGX_QUOTE),
    "SGX quote in JSON": (in_json(quote=b64(SGX_QUOTE)), EvidenceKind.SGX, SGX_QUOTE),
    "SGX quote with Open Enclave's header": (
        struct.pack("<IIQ", 1, 2, len(SGX_QUOTE)) + SGX_QUOTE,
        EvidenceKind.SGX,
        SGX_QUOTE,
    ),
    "document": (DOCUMENT, EvidenceKind.NITRO, DOCUMENT),
    "document, tagged": (b"\xd2" + DOCUMENT, EvidenceKind.NITRO, b"\xd2" + DOCUMENT),
    "document, base64": (b64(DOCUMENT).encode(), EvidenceKind.NITRO, DOCUMENT),
    "document in JSON": (in_json(attestation_document=b64(DOCUMENT)), EvidenceKind.NITRO, DOCUMENT),
    "document in the module's answer": (
        b"\xa1\x6bAttestation\xa1\x68document\x59" + len(DOCUMENT).to_bytes(2, "big") + DOCUMENT,
        EvidenceKind.NITRO,
        DOCUMENT,
    ),
}


@pytest.mark.parametrize("form", OTHERS)
def test_quote_or_document_in_every_form_is_told_by_its_content(form):
    data, kind, report = OTHERS[form]
    found = read_evidence(data)
    assert (found.kind, found.report, found.collateral) == (kind, report, ())


def wrapped(times):
    data = in_json(report=b64(REPORT))
    for _ in range(times):
        data = in_json(evidence=data.decode())
    return data


NONE = {
    "nothing": b"",
    "too much": REPORT + bytes(MAX_EVIDENCE_BYTES),
    "report wrapped too often": wrapped(6),
    "message with a fourth part": as_go_message(REPORT) + b"\x22\x00",
    "message without a report": b"\x12\x00",
    "message whose report is a number": b"\x08\x01",
    "message whose report has a field of its own": b"\x0a\x03\x98\x06\x01",
    "message whose version is bytes": b"\x0a\x03\x0a\x01\x02",
    "message whose id is a number": b"\x0a\x02\x20\x01",
    "message cut short": as_go_message(REPORT)[:-20],
    "message of fixed numbers": b"\x0a\x05\x0d\x02\x00\x00\x00",
    "report cut short": REPORT[:-1],
    "report with a byte behind it": REPORT + b"\1",
    "cloud's header without a report": b"HCLA" + bytes(600),
    "gzip cut short": gzip.compress(REPORT)[:-9],
    "gzip with something behind it": gzip.compress(REPORT) + b"x",
    "gzip that is too long": gzip.compress(bytes(MAX_PACKED_BYTES + 1)),
    "JSON without evidence": in_json(something=1),
    "JSON that holds itself again and again": b'{"evidence":' * 400 + b"1" + b"}" * 400,
    "message with a field twice": as_go_message(REPORT) + as_go_message(REPORT),
    "message with an unknown field": b"\x0a\x03\xa0\x02\x01",
    "message of a report with a short part": b"\x0a\x03\x22\x01\x01",
    "JSON of a report with a short part": in_json(report=as_go_json(REPORT) | {"chipId": "AA=="}),
    "JSON of a report with a part that is no number": in_json(report=as_go_json(REPORT) | {"policy": "x"}),
    "guest components with a short part": in_json(attestation_report=as_coco_json(REPORT, spelling="new") | {"chip_id": "00"}),
}
NONE |= {
    f"guest components with {name} of another form": in_json(
        attestation_report=as_coco_json(REPORT, spelling="new") | {name: value}
    )
    for name, value in {
        "chip_id": 1 << 40, "reported_tcb": 1, "current_tcb": "x", "signature": None, "policy": "x", "current": {"build": 1},
        "family_id": ["x"], "vmpl": 1 << 40, "report_data": None,
    }.items()
}  # fmt: skip
NONE["JSON with half a character"] = b'{"report": "\\ud800"}'
NONE |= {
    f"envelope with {name}": canonical_bytes({"v": 1, "kind": "sev-snp", "report": b64(REPORT), "collateral": []} | over)
    for name, over in {
        "another version": {"v": 2}, "a simulation": {"kind": "simulated"}, "an unknown kind": {"kind": "sgx"},
        "a report that is no base64": {"report": "!"}, "collateral that is no base64": {"collateral": ["!"]},
        "too many files": {"collateral": ["AA=="] * 65},
    }.items()
}  # fmt: skip


@pytest.mark.parametrize("form", NONE)
def test_something_else_is_an_input_error(form):
    with pytest.raises(InvalidInputError):
        read_evidence(NONE[form])


def test_envelope_may_have_many_files_and_has_one_length_at_most():
    many = EvidenceEnvelope.of(TeeKind.SEV_SNP, REPORT, [b"x"] * 64)
    assert EvidenceEnvelope.parse(many.to_bytes()) == many
    with pytest.raises(InvalidInputError, match="too long"):
        EvidenceEnvelope.parse(EvidenceEnvelope.of(TeeKind.SEV_SNP, bytes(MAX_EVIDENCE_BYTES), ()).to_bytes())


@given(st.binary(max_size=300))
def test_any_bytes_give_evidence_or_an_input_error(data):
    for form in (data, gzip.compress(data), b'{"evidence": "' + base64.b64encode(data) + b'"}'):
        try:
            read_evidence(form)
        except InvalidInputError:
            continue


def test_files_are_unpacked_a_few_times_only():
    data = b"x"
    for _ in range(9):
        data = gzip.compress(data)
    assert len(list(layers(data))) == 4


CRL = make_crl("ARK-Milan", signer=rsa_key("root"))
BESIDE = {
    "PEM": [PEM],
    "PEM with words above": [b"subject=CN=SEV-VCEK\nissuer=CN=SEV-Milan\n" + PEM],
    "PEM one by one": [pem_text([der]).encode() for der in DERS],
    "DER one by one": list(DERS),
    "DER in a row": [b"".join(DERS)],
    "hexadecimal": [der.hex().encode() for der in DERS],
    "base64": [base64.encodebytes(der) for der in DERS],
    "gzip": [gzip.compress(PEM)],
    "table": [certificate_table(DERS)],
    "table as base64": [base64.encodebytes(certificate_table(DERS))],
    "a cloud's host": [in_json(vcekCert=pem_text(DERS[:1]), tcbm="DB18", certificateChain=pem_text(DERS[1:]))],
}


@pytest.mark.parametrize("form", BESIDE)
def test_certificates_in_every_form_are_read(form):
    assert [each.der for each in parse_pieces(BESIDE[form]).certificates] == list(DERS)


@pytest.mark.parametrize("encoding", [Encoding.DER, Encoding.PEM])
def test_revocation_list_in_every_form_is_read(encoding):
    data = CRL.public_bytes(encoding)
    for form in (data, gzip.compress(data), base64.encodebytes(data), data.hex().encode(), PEM + CRL.public_bytes(Encoding.PEM)):
        assert parse_pieces([form]).crls == (CRL,)


@pytest.mark.parametrize(
    "item",
    [
        b"-----BEGIN PRIVATE KEY-----\nMA==\n-----END PRIVATE KEY-----\n", DERS[0] + b"\x30", DERS[0][:-1],
        certificate_table([certificate_table(DERS)] * 3), b"\x63\xda", in_json(pem=1), b"", b" \n", b'{"pem": "\\ud800"}',
    ],
)  # fmt: skip
def test_file_beside_evidence_that_is_something_else_is_refused(item):
    with pytest.raises(InvalidInputError):
        parse_pieces([item])


AT = CRL.public_bytes(Encoding.DER).index(CRL.issuer.public_bytes())


@pytest.mark.parametrize(("at", "value"), [(9, 0x07), (AT + 2, 0x05), (AT + 11, 0x05), (AT + 11, 0x03)])
def test_revocation_list_whose_issuer_or_version_cannot_be_read_is_refused(at, value):
    data = bytearray(CRL.public_bytes(Encoding.DER))
    data[at] = value
    for form in (bytes(data), b"-----BEGIN X509 CRL-----\n" + base64.encodebytes(bytes(data)) + b"-----END X509 CRL-----\n"):
        with pytest.raises(InvalidInputError):
            parse_pieces([form])
        with pytest.raises(InvalidInputError):
            parse_crl(form)


@pytest.mark.parametrize("item", [b"\x30\x81\x00", DERS[0]])
def test_many_items_in_a_row_are_refused_before_they_are_read(item):
    row = item * (900_000 // len(item))
    assert len(der_items(row)) == 65
    with pytest.raises(InvalidInputError):
        parse_pieces([row])


def test_file_that_is_too_long_is_not_looked_at():
    with pytest.raises(InvalidInputError, match="too long"):
        parse_pieces([bytes(MAX_DOCUMENT_BYTES + 1)])


def test_der_items_are_split_by_their_lengths():
    assert der_items(b"".join(DERS)) == DERS
    assert der_items(b"\x30\x03\x02\x01\x01") == (b"\x30\x03\x02\x01\x01",)
