"""`opaque-jobs attest verify`, as people call it: outcome, exit code and report for each kind."""

import base64
import json

import pytest

from opaque_jobs.attestation.envelope import EvidenceEnvelope
from opaque_jobs.domain.job import TeeKind
from tests.support.vectors import FOLDER, GOOGLE, PHALA, VCEK, VLEK, needs_vectors, read

SNP = "snp/trustee-test-report.bin"
QUOTE = "tdx/phala-tdx_quote"
NITRO = "nitro/evervault-valid-attestation-doc.cbor"


def options(names, option="--cert"):
    return [part for name in names for part in (option, str(FOLDER / name))]


CASES = [
    ("sev-snp", SNP, [*options(VCEK), "--at", "2025-06-01"], 0),
    ("sev-snp", SNP, options(VCEK[:1]), 8),
    ("sev-snp", SNP, [*options(("snp/trustee-test-vcek-invalid-new.der", *VCEK[1:])), "--at", "2025-06-01"], 8),
    ("sev-snp", "snp/trustee-test-vlek-report.bin", [*options(VLEK), "--at", "2025-06-01T00:00:00Z"], 0),
    ("sev-snp", "snp/trustee-test-vlek-report.bin", options(VLEK), 8),
    ("tdx", QUOTE, [*options(PHALA, "--collateral"), "--at", "2025-06-25"], 0),
    ("tdx", QUOTE, [], 8),
    ("tdx", "tdx/go-tdx-guest-tdx_prod_quote_SPR_E4.dat", [*options(GOOGLE, "--collateral"), "--at", "2023-07-01"], 8),
    ("nitro", NITRO, ["--at", "2022-10-13T10:00:00+00:00"], 0),
    ("nitro", NITRO, [], 8),
    ("nitro", NITRO, ["--at", "evidence"], 0),
    ("nitro", "nitro/evervault-debug-mode-attestation-doc.cbor", ["--at", "evidence"], 8),
    ("nitro", "nitro/evervault-debug-mode-attestation-doc.cbor", ["--at", "2022-10-12T14:00:00Z"], 8),
]


@needs_vectors
@pytest.mark.parametrize(("kind", "name", "arguments", "code"), CASES)
def test_attest_verify_gives_each_vector_its_outcome(empty, kind, name, arguments, code):
    done = empty("attest", "verify", str(FOLDER / name), *arguments, "--json")
    report = json.loads(done.stdout)
    assert (done.exit_code, report["kind"], report["holds"]) == (code, kind, code == 0)
    assert "Traceback" not in done.stderr


@needs_vectors
def test_attest_verify_tells_signature_and_policy_apart(empty):
    done = empty(
        "attest", "verify", str(FOLDER / "nitro/evervault-debug-mode-attestation-doc.cbor"), "--at", "2022-10-12T14:00:00Z",
        "--json",
    )  # fmt: skip
    report = json.loads(done.stdout)
    assert (report["signature"]["holds"], report["policy"]["holds"], report["status"]) == (True, False, "contraindicated")
    assert [each["code"] for each in report["policy"]["findings"] if each["outcome"] == "fails"] == ["debug-enabled"]


POLICY = {
    "nitro": {
        "pcrs": {"0": ["f4d48b81a460c9916d1e685119074bf24660afd3e34fae9fca0a0d28d9d5599936332687e6f66fc890ac8cf150142d8b"]}
    },
    "sev-snp": {
        "measurements": ["a1f3930413247bb38cfc171579ea3c12d5fe4901f0c792f63fd75d98f1ef827c23500644e0e692e6be917f9050d3d38c"],
        "platforms": [{"line": "Milan", "minimum_tcb": {"bootloader": 3, "tee": 0, "snp": 8, "microcode": 115}}],
        "chip_ids": None,
        "allow_incomplete_alias_check": True,
        "max_crl_age_days": None,
    },
}
WHOLE_IMAGE = {
    "pcrs": POLICY["nitro"]["pcrs"]
    | {
        "1": ["bcdf05fefccaa8e55bf2c8d6dee9e79bbff31e34bf28a99aa19e6b29c37ee80b214a414b7607236edf26fcb78654e63f"],
        "2": ["d8f114da658de5481f8d9ec73907feb553560787522f705c92d7d96beed8e15e2aa611984e098c576832c292e8dc469a"],
    }
}


@needs_vectors
@pytest.mark.parametrize(
    ("arguments", "change", "code", "status"),
    [
        ([str(FOLDER / NITRO), "--at", "2022-10-13T10:00:00Z"], {}, 0, "warning"),
        ([str(FOLDER / NITRO), "--at", "2022-10-13T10:00:00Z"], {"nitro": WHOLE_IMAGE}, 0, "affirming"),
        ([str(FOLDER / NITRO), "--at", "2022-10-13T10:00:00Z"], {"nitro": {"pcrs": {"0": ["ab" * 48]}}}, 8, "contraindicated"),
        ([str(FOLDER / SNP), *options(VCEK), "--at", "2025-06-01"], {}, 0, "warning"),
        (
            [str(FOLDER / SNP), *options(VCEK), "--at", "2025-06-01"],
            {"sev-snp": POLICY["sev-snp"] | {"allow_smt": False}},
            8,
            "contraindicated",
        ),
    ],
)
def test_attest_verify_compares_with_a_policy_file(empty, tmp_path, arguments, change, code, status):  # noqa: PLR0917
    (tmp_path / "policy.json").write_text(json.dumps(POLICY | change))
    done = empty("attest", "verify", *arguments, "--policy", str(tmp_path / "policy.json"), "--json")
    report = json.loads(done.stdout)
    assert (done.exit_code, report["status"], report["policy"]["given"]) == (code, status, True)


def test_attest_policy_shows_every_item_and_what_is_not_demanded(empty, tmp_path):
    (tmp_path / "policy.json").write_text(json.dumps(POLICY))
    done = empty("attest", "policy", str(tmp_path / "policy.json"))
    assert done.exit_code == 0, done.stderr
    for words in (
        "allow cxl",
        "minimum launch tcb snp",
        "nobody demands the application of the image (PCR 2)",
        "chip-not-demanded",
    ):
        assert words in done.stdout
    shown = json.loads(empty("attest", "policy", str(tmp_path / "policy.json"), "--json").stdout)
    assert shown["items"]["sev-snp"]["allow_reserved_bits"] is False
    assert [each["code"] for each in shown["not_demanded"]["nitro"]] == ["pcr1-not-demanded", "pcr2-not-demanded"]


@needs_vectors
def test_attest_verify_reads_hexadecimal_base64_and_our_own_envelope(empty, tmp_path):
    raw, arguments = read(SNP), [*options(VCEK), "--at", "2025-06-01"]
    envelope = EvidenceEnvelope.of(TeeKind.SEV_SNP, raw, [read(name) for name in VCEK]).to_bytes()
    for number, data in enumerate((raw.hex().encode() + b"\n", base64.encodebytes(raw), envelope)):
        file = tmp_path / f"{number}.txt"
        file.write_bytes(data)
        done = empty("attest", "verify", str(file), *(arguments if data is not envelope else arguments[-2:]))
        assert done.exit_code == 0, done.stderr


@pytest.mark.parametrize("content", [b"", b"\x00" * 1184, b"hello", b"{}", b"[1]", b'{"payloadType": 1}', b"\xff" * 5000])
def test_attest_verify_of_something_else_ends_with_five(empty, tmp_path, content):
    (tmp_path / "evidence").write_bytes(content)
    done = empty("attest", "verify", str(tmp_path / "evidence"))
    assert done.exit_code == 5
    assert "Traceback" not in done.stderr


def test_attest_verify_of_a_missing_or_other_file_says_so(empty, tmp_path):
    assert empty("attest", "verify", str(tmp_path / "none")).exit_code == 4
    (tmp_path / "evidence").write_bytes(b"x")
    assert empty("attest", "verify", str(tmp_path / "evidence")).exit_code == 5


@needs_vectors
@pytest.mark.parametrize("time", ["yesterday", "evidence"])
def test_attest_verify_at_a_time_that_is_none_is_a_wrong_command_line(empty, time):
    assert empty("attest", "verify", str(FOLDER / SNP), "--at", time).exit_code == 2


@needs_vectors
def test_attest_verify_of_another_kind_than_asked_for_is_refused(empty):
    assert empty("attest", "verify", str(FOLDER / NITRO), "--kind", "tdx").exit_code == 8


@needs_vectors
def test_attest_verify_prints_a_page_for_people(empty):
    done = empty("attest", "verify", str(FOLDER / SNP), *options(VCEK), "--at", "2025-06-01")
    for words in ("signatures and chains", "ARK-Milan", "debug mode is off", "what it says", "microcode 115", "give --policy"):
        assert words in done.stdout
