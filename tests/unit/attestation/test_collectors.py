"""Collectors, against a folder that behaves like the kernel's and a server that answers like the guest components."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

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
from tests.support.evidence_forms import GUIDS, as_coco_json, certificate_table
from tests.support.tsm_simulator import TsmSimulator, simulated_root
from tests.support.vectors import needs_vectors, read

ASKED = {"measurement": "sha256:" + "00" * 32, "report_data": b"\x05" * 48, "init_data": b"\x06" * 48}


WHOLE_TABLE = certificate_table([b"1", b"2", b"3"])


def make_kernel(tmp_path, maker=None, **over):
    maker = maker or AmdMaker()
    ders = maker.ders()
    given = {"report": lambda data: maker.report(report_data=data), "auxiliary": certificate_table(ders)} | over
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
    table = certificate_table([b"one", b"two", b"three"], little_endian=little_endian)
    assert is_table(table)
    assert table_items(table) == (b"one", b"two", b"three")


def test_certificate_table_passes_over_what_it_does_not_know():
    other = "00000000-0000-4000-8000-000000000001"
    assert table_items(certificate_table([b"one", b"two", b"three"], names=(GUIDS[0], other, GUIDS[2]))) == (b"one", b"three")


@pytest.mark.parametrize("table", [WHOLE_TABLE[:60], WHOLE_TABLE[:-1], WHOLE_TABLE[:16]])
def test_certificate_table_that_is_damaged_is_refused(table):
    with pytest.raises(InvalidInputError):
        table_items(table)


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
        return self._answer({"attestation_report": as_coco_json(raw, spelling="new"), "cert_chain": chain})

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
    kind, report, chain = coco_evidence({"attestation_report": as_coco_json(raw, spelling="new", line=line), "cert_chain": None})
    assert (kind, report, chain) == (TeeKind.SEV_SNP, raw, ())


@needs_vectors
def test_real_report_in_the_older_spelling_gives_its_bytes():
    raw = read("snp/trustee-test-report.bin")
    assert coco_evidence({"attestation_report": as_coco_json(raw, spelling="old")})[1] == raw


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
