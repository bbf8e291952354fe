"""Collectors, against a folder that behaves like the kernel's and a server that answers like the guest components."""

import base64
import json
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest

from opaque_jobs.attestation.cert_table import is_table, table_items
from opaque_jobs.attestation.coco import CocoAttester, coco_evidence
from opaque_jobs.attestation.envelope import EvidenceEnvelope
from opaque_jobs.attestation.hardware import MAKERS, HardwareVerifier
from opaque_jobs.attestation.tsm import TsmAttester
from opaque_jobs.domain.job import TeeKind
from opaque_jobs.domain.tee_policy import SnpLine
from opaque_jobs.errors import ConfigurationError, InvalidInputError, TrustError
from tests.support.amd_simulator import NOW, AmdMaker
from tests.support.tsm_simulator import TsmSimulator, simulated_root
from tests.support.vectors import needs_vectors, read

GUIDS = ("63da758d-e664-4564-adc5-f4b93be8accd", "4ab7b379-bbac-4fe4-a02f-05aef327c782", "c0b406a4-a803-4952-9743-3fb6014cd0ae")
ASKED = {"measurement": "sha256:" + "00" * 32, "report_data": b"\x05" * 48, "init_data": b"\x06" * 48}


def make_table(items, *, little_endian=True, names=GUIDS):
    entries, data, start = b"", b"", 24 * (len(items) + 1)
    for name, item in zip(names, items, strict=True):
        guid = UUID(name).bytes_le if little_endian else UUID(name).bytes
        entries += guid + struct.pack("<II", start + len(data), len(item))
        data += item
    return entries + bytes(24) + data


WHOLE_TABLE = make_table([b"1", b"2", b"3"])


def make_kernel(tmp_path, maker=None, **over):
    maker = maker or AmdMaker()
    ders = maker.ders()
    given = {"report": lambda data: maker.report(report_data=data), "auxiliary": make_table(ders)} | over
    return TsmSimulator(tmp_path / "report", **given), ders


def believing(ders):
    fingerprint = AmdMaker().roots(tuple(map(_parse, ders)))
    return HardwareVerifier(kind=TeeKind.SEV_SNP, anchors=type(MAKERS)(amd=fingerprint, intel=MAKERS.intel, aws=MAKERS.aws))


def _parse(der):
    from opaque_jobs.attestation.certificates import parse_certificate

    return parse_certificate(der)


def test_kernel_evidence_is_verified_with_the_certificates_that_came_with_it(tmp_path):
    kernel, ders = make_kernel(tmp_path)
    attester = TsmAttester.find(root=simulated_root(kernel))
    assert attester.kind is TeeKind.SEV_SNP
    found = believing(ders).verify(attester.evidence(**ASKED), now=NOW)
    assert (found.report_data, found.init_data) == (b"\x05" * 48 + b"\0" * 16, None)
    assert kernel.asked == [b"\x05" * 48 + b"\0" * 16]
    assert list(kernel.root.iterdir()) == []
    assert len(set(kernel.made)) == 2


def test_kernel_without_certificates_gives_those_of_the_collateral_folder(tmp_path):
    kernel, ders = make_kernel(tmp_path, auxiliary=None)
    attester = TsmAttester.find(root=simulated_root(kernel), collateral=ders)
    assert believing(ders).verify(attester.evidence(**ASKED), now=NOW).kind is TeeKind.SEV_SNP


def test_kernel_of_a_tdx_guest_gives_its_quote(tmp_path):
    kernel, _ = make_kernel(tmp_path, provider="tdx_guest", report=lambda data: b"quote over " + data, auxiliary=None)
    attester = TsmAttester.find(root=simulated_root(kernel), collateral=[b"{}"])
    envelope = EvidenceEnvelope.parse(attester.evidence(**ASKED))
    assert (attester.kind, envelope.kind) == (TeeKind.TDX, TeeKind.TDX)
    assert envelope.report_bytes == b"quote over " + b"\x05" * 48 + b"\0" * 16
    assert envelope.collateral_bytes == (b"{}",)


def test_kernel_entry_that_somebody_else_wrote_to_is_not_used(tmp_path):
    kernel, _ = make_kernel(tmp_path)
    attester = TsmAttester.find(root=simulated_root(kernel))
    kernel.also_written = 1
    with pytest.raises(TrustError, match="somebody else"):
        attester.evidence(**ASKED)
    assert list(kernel.root.iterdir()) == []


def test_kernel_that_changes_its_kind_is_not_used(tmp_path):
    kernel, _ = make_kernel(tmp_path)
    attester = TsmAttester.find(root=simulated_root(kernel))
    kernel.provider = "tdx_guest"
    with pytest.raises(TrustError):
        attester.evidence(**ASKED)


def test_kernel_of_an_unknown_kind_or_without_the_folder_is_a_configuration_error(tmp_path):
    kernel, _ = make_kernel(tmp_path, provider="arm_cca_guest")
    with pytest.raises(ConfigurationError, match="not known"):
        TsmAttester.find(root=simulated_root(kernel))
    with pytest.raises(ConfigurationError, match="cannot be used"):
        TsmAttester.find(root=tmp_path / "none")
    (tmp_path / "plain").mkdir()
    with pytest.raises(ConfigurationError, match="provider"):
        TsmAttester.find(root=tmp_path / "plain")


@pytest.mark.parametrize("little_endian", [False, True])
def test_certificate_table_is_read_in_both_byte_orders(little_endian):
    table = make_table([b"one", b"two", b"three"], little_endian=little_endian)
    assert is_table(table)
    assert table_items(table) == (b"one", b"two", b"three")


def test_certificate_table_passes_over_what_it_does_not_know():
    other = "00000000-0000-4000-8000-000000000001"
    assert table_items(make_table([b"one", b"two", b"three"], names=(GUIDS[0], other, GUIDS[2]))) == (b"one", b"three")


@pytest.mark.parametrize("table", [WHOLE_TABLE[:60], WHOLE_TABLE[:-1], WHOLE_TABLE[:16]])
def test_certificate_table_that_is_damaged_is_refused(table):
    with pytest.raises(InvalidInputError):
        table_items(table)


def levels(raw, line):
    if line is SnpLine.TURIN:
        return dict(zip(("fmc", "bootloader", "tee", "snp"), raw[:4], strict=True)) | {"microcode": raw[7]}
    return {"fmc": None, "bootloader": raw[0], "tee": raw[1], "snp": raw[6], "microcode": raw[7]}


def as_json(raw, *, spelling, line=SnpLine.MILAN):
    """Write a report as the guest components do: their older and their newer spelling."""
    old = spelling == "old"

    def octets(start, size):
        return list(raw[start : start + size]) if old else raw[start : start + size].hex()

    def number(start, size):
        return int.from_bytes(raw[start : start + size], "little")

    fields = {name: number(*where) for name, where in {
        "version": (0, 4), "guest_svn": (4, 4), "policy": (8, 8), "vmpl": (0x30, 4), "sig_algo": (0x34, 4),
        "plat_info": (0x40, 8),
    }.items()}  # fmt: skip
    fields |= {name: octets(*where) for name, where in {
        "family_id": (0x10, 16), "image_id": (0x20, 16), "report_data": (0x50, 64), "measurement": (0x90, 48),
        "host_data": (0xC0, 32), "id_key_digest": (0xE0, 48), "author_key_digest": (0x110, 48), "report_id": (0x140, 32),
        "report_id_ma": (0x160, 32), "chip_id": (0x1A0, 64),
    }.items()}  # fmt: skip
    places = {"current_tcb": 0x38, "reported_tcb": 0x180, "committed_tcb": 0x1E0, "launch_tcb": 0x1F0}
    fields |= {name: levels(raw[start : start + 8], line) for name, start in places.items()}
    fields["signature"] = {"r": octets(0x2A0, 72), "s": octets(0x2E8, 72)}
    if old:
        fields |= {"_author_key_en": number(0x48, 4), "_reserved_0": 0}
        parts = ("current_build", 0x1E8), ("current_minor", 0x1E9), ("current_major", 0x1EA)
        fields |= {name: raw[at] for name, at in parts}
        parts = ("committed_build", 0x1EC), ("committed_minor", 0x1ED), ("committed_major", 0x1EE)
        return fields | {name: raw[at] for name, at in parts}
    fields |= {"key_info": number(0x48, 4), "cpuid_fam_id": raw[0x188], "cpuid_mod_id": raw[0x189], "cpuid_step": raw[0x18A]}
    for name, start in (("current", 0x1E8), ("committed", 0x1EC)):
        fields[name] = dict(zip(("build", "minor", "major"), raw[start : start + 3], strict=True))
    return fields


class GuestComponents(BaseHTTPRequestHandler):
    """Answers as `api-server-rest` does."""

    maker = AmdMaker()
    knows_encoding = True
    tee = "snp"

    def do_GET(self):
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if parts.path == "/info":
            return self._answer({"version": "1", "tee": self.tee, "additional_tees": [], "feature": "all"})
        if parts.path != "/aa/evidence" or "runtime_data" not in query:
            return self.send_error(404)
        data = query["runtime_data"].encode()
        if self.knows_encoding and query.get("encoding") == "base64":
            data = base64.urlsafe_b64decode(data + b"=" * (-len(data) % 4))
        raw = self.maker.report(report_data=data.ljust(64, b"\0")[:64])
        chain = [{"cert_type": "VCEK", "data": list(der)} for der in self.server.ders]
        return self._answer({"attestation_report": as_json(raw, spelling="new"), "cert_chain": chain})

    def _answer(self, document):
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def serve():
    servers = []

    def start(**over):
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (GuestComponents,), over))
        server.ders = AmdMaker().ders()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}", server.ders

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_guest_components_evidence_is_verified(serve):
    address, ders = serve()
    attester = CocoAttester.find(address=address)
    found = believing(ders).verify(attester.evidence(**ASKED), now=NOW)
    assert (attester.kind, found.report_data) == (TeeKind.SEV_SNP, b"\x05" * 48 + b"\0" * 16)


def test_guest_components_that_take_the_text_for_the_data_are_noticed(serve):
    address, _ = serve(knows_encoding=False)
    with pytest.raises(ConfigurationError, match="something else than was asked"):
        CocoAttester.find(address=address).evidence(**ASKED)


def test_guest_components_on_unknown_hardware_or_away_are_a_configuration_error(serve):
    address, _ = serve(tee="sample")
    with pytest.raises(ConfigurationError, match="known here"):
        CocoAttester.find(address=address)
    with pytest.raises(ConfigurationError, match="does not give"):
        CocoAttester.find(address="http://127.0.0.1:9")
    with pytest.raises(ConfigurationError, match="does not give"):
        CocoAttester.find(address=address + "/else")


@pytest.mark.parametrize("line", SnpLine)
def test_report_in_the_newer_spelling_gives_its_bytes(line):
    raw = AmdMaker(line=line).report()
    kind, report, chain = coco_evidence({"attestation_report": as_json(raw, spelling="new", line=line), "cert_chain": None})
    assert (kind, report, chain) == (TeeKind.SEV_SNP, raw, ())


@needs_vectors
def test_real_report_in_the_older_spelling_gives_its_bytes():
    raw = read("snp/trustee-test-report.bin")
    assert coco_evidence({"attestation_report": as_json(raw, spelling="old")})[1] == raw


@needs_vectors
def test_quote_of_the_guest_components_is_read(serve):
    quote = read("tdx/phala-tdx_quote")
    assert coco_evidence({"quote": base64.b64encode(quote).decode(), "cc_eventlog": None}) == (TeeKind.TDX, quote, ())


@pytest.mark.parametrize(
    "document",
    [{}, {"quote": 1}, {"quote": "!"}, {"attestation_report": {}}, {"attestation_report": []},
     {"attestation_report": {"family_id": "zz"}}, {"svn": "1", "report_data": "eHh4eA=="}],
)  # fmt: skip
def test_evidence_of_another_form_is_refused(document):
    with pytest.raises(InvalidInputError):
        coco_evidence(document)
