"""Evidence from the guest components of Confidential Containers, over their API on the guest's loopback.

For TDX they give the quote; for SEV-SNP the fields of the report as JSON, in one of two spellings, from which the report's
bytes are put together again: its signature tells whether that was right.
Source: confidential-containers/guest-components, api-server-rest (`/info`, `/aa/evidence`), attestation-agent attesters.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import httpx

from opaque_jobs.attestation.binding import carried
from opaque_jobs.attestation.envelope import EvidenceEnvelope
from opaque_jobs.attestation.quote_layout import quote_length
from opaque_jobs.attestation.snp_report import REPORT_BYTES
from opaque_jobs.crypto.keys import decode_base64
from opaque_jobs.domain.canonical import parse_json
from opaque_jobs.domain.job import TeeKind
from opaque_jobs.errors import ConfigurationError, InvalidInputError

__all__ = ["DEFAULT_ADDRESS", "CocoAttester", "coco_evidence", "report_bytes"]

DEFAULT_ADDRESS: Final = "http://127.0.0.1:8006"
_KINDS: Final = {"snp": TeeKind.SEV_SNP, "tdx": TeeKind.TDX}
_REPORT_DATA_AT: Final = {TeeKind.SEV_SNP: 0x50}
_TIMEOUT_S: Final = 30.0
_MAX_BYTES: Final = 4 << 20
_BYTES: Final = {
    "family_id": (0x10, 16), "image_id": (0x20, 16), "report_data": (0x50, 64), "measurement": (0x90, 48),
    "host_data": (0xC0, 32), "id_key_digest": (0xE0, 48), "author_key_digest": (0x110, 48), "report_id": (0x140, 32),
    "report_id_ma": (0x160, 32), "chip_id": (0x1A0, 64),
}  # fmt: skip
_NUMBERS: Final = {
    "version": (0x00, 4), "guest_svn": (0x04, 4), "policy": (0x08, 8), "vmpl": (0x30, 4), "sig_algo": (0x34, 4),
    "plat_info": (0x40, 8), "key_info": (0x48, 4), "_author_key_en": (0x48, 4), "cpuid_fam_id": (0x188, 1),
    "cpuid_mod_id": (0x189, 1), "cpuid_step": (0x18A, 1), "current_build": (0x1E8, 1), "current_minor": (0x1E9, 1),
    "current_major": (0x1EA, 1), "committed_build": (0x1EC, 1), "committed_minor": (0x1ED, 1), "committed_major": (0x1EE, 1),
    "launch_mit_vector": (0x1F8, 8), "current_mit_vector": (0x200, 8),
}  # fmt: skip
_LEVELS: Final = {"current_tcb": 0x38, "reported_tcb": 0x180, "committed_tcb": 0x1E0, "launch_tcb": 0x1F0}
_VERSIONS: Final = {"current": 0x1E8, "committed": 0x1EC}


def coco_evidence(document: Mapping[str, Any]) -> tuple[TeeKind, bytes, tuple[bytes, ...]]:
    """Read untrusted evidence of the guest components: its kind, the report, and the certificates beside it.

    Raises:
        InvalidInputError: It is of another form, or of a kind that is not known here.
    """
    if isinstance(document.get("quote"), str):
        quote = decode_base64(document["quote"], what="TDX quote")
        return TeeKind.TDX, quote, ()
    report = document.get("attestation_report")
    if not isinstance(report, Mapping):
        raise InvalidInputError("evidence of the guest components is of another kind", hint="SEV-SNP and TDX are known")
    try:
        chain = [_octets(each["data"]) for each in document.get("cert_chain") or ()]
    except (ValueError, TypeError, KeyError):
        raise InvalidInputError(
            "evidence of the guest components has certificates of another form", hint="is their version a newer one?"
        ) from None
    return TeeKind.SEV_SNP, report_bytes(report), tuple(chain)


def report_bytes(fields: Mapping[str, Any]) -> bytes:
    """Put an SEV-SNP report together from its untrusted fields.

    Raises:
        InvalidInputError: They are of another form.
    """
    try:
        return _report(fields)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        raise InvalidInputError(
            "evidence of the guest components has another form than expected", hint="is their version a newer one?"
        ) from None


def _report(fields: Mapping[str, Any]) -> bytes:
    raw = bytearray(REPORT_BYTES)

    def put(start: int, value: bytes, size: int) -> None:
        if len(value) != size:
            raise ValueError("another size")
        raw[start : start + size] = value

    for name, (start, size) in _BYTES.items():
        put(start, _octets(fields[name]), size)
    for name, (start, size) in _NUMBERS.items():
        if fields.get(name) is not None:
            put(start, int(fields[name]).to_bytes(size, "little"), size)
    for name, start in _LEVELS.items():
        put(start, _levels(fields[name]), 8)
    for name, start in _VERSIONS.items():
        if isinstance(fields.get(name), Mapping):
            put(start, bytes(fields[name][part] for part in ("build", "minor", "major")), 3)
    for name, start in (("r", 0x2A0), ("s", 0x2E8)):
        put(start, _octets(fields["signature"][name]), 72)
    return bytes(raw)


def _octets(value: Any) -> bytes:
    return bytes(value) if isinstance(value, list) else bytes.fromhex(value)


def _levels(tcb: Mapping[str, Any]) -> bytes:
    if tcb.get("fmc") is not None:
        return bytes((tcb["fmc"], tcb["bootloader"], tcb["tee"], tcb["snp"], 0, 0, 0, tcb["microcode"]))
    return bytes((tcb["bootloader"], tcb["tee"], 0, 0, 0, 0, tcb["snp"], tcb["microcode"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class CocoAttester:
    """Gets evidence from the guest components; see `Attester`.

    Args:
        kind: What they say that they run on.
        address: Of their API.
        collateral: Files to put beside the report.
    """

    kind: TeeKind
    address: str
    collateral: tuple[bytes, ...]

    @classmethod
    def find(cls, *, address: str = DEFAULT_ADDRESS, collateral: Sequence[bytes] = ()) -> "CocoAttester":
        """Ask the guest components what they run on.

        Raises:
            ConfigurationError: They do not answer, or the kind of hardware is not known here.
        """
        document = _get(f"{address}/info", {})
        try:
            kind = _KINDS[parse_json(document, what="answer")["tee"]]
        except (KeyError, TypeError, InvalidInputError):
            raise ConfigurationError(
                "the guest components do not name a kind of hardware that is known here",
                hint="SEV-SNP and TDX are; 'opaque-jobs doctor' says what this machine offers",
            ) from None
        return cls(kind=kind, address=address, collateral=tuple(collateral))

    def evidence(self, *, measurement: str, report_data: bytes, init_data: bytes) -> bytes:  # noqa: ARG002 - hardware measures itself
        """Give evidence; see `Attester`."""
        asked = {"runtime_data": base64.urlsafe_b64encode(report_data).decode("ascii").rstrip("="), "encoding": "base64"}
        document = parse_json(_get(f"{self.address}/aa/evidence", asked), what="evidence of the guest components")
        if not isinstance(document, dict):
            raise InvalidInputError("evidence of the guest components is of another kind", hint="SEV-SNP and TDX are known")
        kind, report, certificates = coco_evidence(document)
        # Components from before `encoding` was known take the text for the data: a broker would refuse that without saying why.
        at = _REPORT_DATA_AT[kind] if kind in _REPORT_DATA_AT else _quote_report_data_at(report)
        if kind is not self.kind or report[at : at + 64] != carried(kind, report_data):
            raise ConfigurationError(
                "the guest components gave evidence over something else than was asked for",
                hint="use a version of them that knows the 'encoding' of runtime data",
            )
        return EvidenceEnvelope.of(kind, report, (*certificates, *self.collateral)).to_bytes()


def _quote_report_data_at(quote: bytes) -> int:
    """Give where the report data stands in a TDX quote: it ends the body that both generations share."""
    quote_length(quote)
    return (54 if quote[:2] == b"\x05\x00" else 48) + 520


def _get(address: str, query: Mapping[str, str]) -> bytes:
    try:
        with httpx.Client(timeout=_TIMEOUT_S, trust_env=False) as client:
            answer = client.get(address, params=dict(query))
    except httpx.HTTPError:
        answer = None
    if answer is None or answer.status_code != httpx.codes.OK or len(answer.content) > _MAX_BYTES:
        raise ConfigurationError(
            "the guest components' API does not give what was asked for",
            hint="are they started, with 'all' or 'attestation' features, on this guest's loopback?",
        )
    return answer.content
