"""Writes an SEV-SNP report as other programs do: fields in JSON, a protocol-buffer message, a table of certificates."""

import base64
import struct
from uuid import UUID

from opaque_jobs.domain.tee_policy import SnpLine

GUIDS = ("63da758d-e664-4564-adc5-f4b93be8accd", "4ab7b379-bbac-4fe4-a02f-05aef327c782", "c0b406a4-a803-4952-9743-3fb6014cd0ae")
TCBS = {"current_tcb": 0x38, "reported_tcb": 0x180, "committed_tcb": 0x1E0, "launch_tcb": 0x1F0}


def certificate_table(items, *, little_endian=True, names=GUIDS):
    entries, data, start = b"", b"", 24 * (len(items) + 1)
    for name, item in zip(names, items, strict=True):
        guid = UUID(name).bytes_le if little_endian else UUID(name).bytes
        entries += guid + struct.pack("<II", start + len(data), len(item))
        data += item
    return entries + bytes(24) + data


def levels(raw, line):
    if line is SnpLine.TURIN:
        return dict(zip(("fmc", "bootloader", "tee", "snp"), raw[:4], strict=True)) | {"microcode": raw[7]}
    return {"fmc": None, "bootloader": raw[0], "tee": raw[1], "snp": raw[6], "microcode": raw[7]}


def as_coco_json(raw, *, spelling, line=SnpLine.MILAN):
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
    fields |= {name: levels(raw[start : start + 8], line) for name, start in TCBS.items()}
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


GO_FIELDS = [
    ("version", 0, 4), ("guestSvn", 4, 4), ("policy", 8, -8), ("familyId", 0x10, 0x20), ("imageId", 0x20, 0x30),
    ("vmpl", 0x30, 4), ("signatureAlgo", 0x34, 4), ("currentTcb", 0x38, -8), ("platformInfo", 0x40, -8),
    ("signerInfo", 0x48, 4), ("reportData", 0x50, 0x90), ("measurement", 0x90, 0xC0), ("hostData", 0xC0, 0xE0),
    ("idKeyDigest", 0xE0, 0x110), ("authorKeyDigest", 0x110, 0x140), ("reportId", 0x140, 0x160), ("reportIdMa", 0x160, 0x180),
    ("reportedTcb", 0x180, -8), ("chipId", 0x1A0, 0x1E0), ("committedTcb", 0x1E0, -8), ("currentBuild", 0x1E8, 1),
    ("currentMinor", 0x1E9, 1), ("currentMajor", 0x1EA, 1), ("committedBuild", 0x1EC, 1), ("committedMinor", 0x1ED, 1),
    ("committedMajor", 0x1EE, 1), ("launchTcb", 0x1F0, -8), ("signature", 0x2A0, 0x4A0), ("cpuid1eaxFms", 0x188, 3),
    ("launchMitVector", 0x1F8, -8), ("currentMitVector", 0x200, -8),
]  # fmt: skip
"""In the order of their numbers; a third value above 15 is the end of a byte string, a negative one a number of 64 bits."""


def _cpuid(family, model, step):
    extended = family - 0xF if family > 0xF else 0
    return extended << 20 | (model >> 4) << 16 | min(family, 0xF) << 8 | (model & 0xF) << 4 | step


def _go_values(raw):
    for number, (name, start, size) in enumerate(GO_FIELDS, 1):
        if size > 15:
            yield number, name, size, raw[start:size]
        elif name == "cpuid1eaxFms":
            yield number, name, size, _cpuid(*raw[start : start + 3])
        else:
            yield number, name, size, int.from_bytes(raw[start : start + abs(size)], "little")


def as_go_json(raw):
    """Write a report as go-sev-guest's JSON: byte strings as base64, numbers of 64 bits as text, zeros left out."""
    texts = {}
    for _, name, size, value in _go_values(raw):
        if isinstance(value, bytes):
            texts[name] = base64.b64encode(value).decode()
        elif value:
            texts[name] = str(value) if size < 0 else value
    return texts


def _varint(number):
    out = b""
    while number > 0x7F:
        out += bytes((number & 0x7F | 0x80,))
        number >>= 7
    return out + bytes((number,))


def _field(number, value):
    if isinstance(value, bytes):
        return _varint(number << 3 | 2) + _varint(len(value)) + value
    return _varint(number << 3) + _varint(value) if value else b""


def as_go_message(raw, ders=()):
    """Write an Attestation message: the report, and a chain of VCEK, ASK and ARK."""
    report = b"".join(_field(number, value) for number, _, _, value in _go_values(raw))
    chain = b"".join(_field(number, der) for number, der in zip((1, 2, 3), ders, strict=False))
    return _field(1, report) + (_field(2, chain) if ders else b"") + _field(3, _field(1, 1))
