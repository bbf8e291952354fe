"""Evidence from Linux: configfs-tsm, one folder for SEV-SNP and TDX alike.

A folder is made, what the report is over is written, the report is read, the folder is removed. Anyone with access can write to
it meanwhile; the kernel counts writes in `generation`, so a report over somebody else's data is noticed.
Source: Linux, Documentation/ABI/testing/configfs-tsm-report.
"""

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from opaque_jobs.attestation.binding import carried
from opaque_jobs.attestation.cert_table import is_table, table_items
from opaque_jobs.attestation.envelope import EvidenceEnvelope
from opaque_jobs.domain.job import TeeKind
from opaque_jobs.errors import ConfigurationError, TrustError

__all__ = ["TSM_ROOT", "TsmAttester"]

TSM_ROOT: Final = Path("/sys/kernel/config/tsm/report")
_PROVIDERS: Final = {"sev_guest": TeeKind.SEV_SNP, "tdx_guest": TeeKind.TDX}
_MAX_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class TsmAttester:
    """Gets evidence from the kernel; see `Attester`.

    Args:
        kind: What the kernel says that it runs on.
        root: The kernel's folder.
        collateral: Files to put beside the report.
    """

    kind: TeeKind
    root: Path
    collateral: tuple[bytes, ...]

    @classmethod
    def find(cls, *, root: Path = TSM_ROOT, collateral: Sequence[bytes] = ()) -> "TsmAttester":
        """Ask the kernel what it runs on.

        Raises:
            ConfigurationError: There is no such folder, it may not be used, or the kind of hardware is not known here.
        """
        with _entry(root) as entry:
            name = _read(entry / "provider").decode("ascii", "replace").strip()
        if name not in _PROVIDERS:
            raise ConfigurationError(
                "the kernel's attestation is of a kind that is not known here", hint="sev_guest and tdx_guest are known"
            )
        return cls(kind=_PROVIDERS[name], root=root, collateral=tuple(collateral))

    def evidence(self, *, measurement: str, report_data: bytes, init_data: bytes) -> bytes:  # noqa: ARG002 - hardware measures itself
        """Give evidence; see `Attester`.

        Raises:
            ConfigurationError: The kernel gives none.
            TrustError: Somebody else wrote to the same folder meanwhile.
        """
        with _entry(self.root) as entry:
            before = _number(entry / "generation")
            _write(entry / "inblob", carried(self.kind, report_data))
            report, auxiliary = _read(entry / "outblob"), _read_optional(entry / "auxblob")
            provider = _read(entry / "provider").decode("ascii", "replace").strip()
            if _number(entry / "generation") != before + 1 or _PROVIDERS.get(provider) is not self.kind:
                raise TrustError("somebody else used the kernel's attestation folder meanwhile", hint="start the run again")
        certificates = table_items(auxiliary) if is_table(auxiliary) else ()
        return EvidenceEnvelope.of(self.kind, report, (*certificates, *self.collateral)).to_bytes()


@contextmanager
def _entry(root: Path) -> Iterator[Path]:
    entry = root / f"opaque-jobs-{secrets.token_hex(8)}"
    try:
        entry.mkdir(mode=0o700)
    except OSError as error:
        raise ConfigurationError(
            f"the kernel's attestation folder cannot be used: {error.strerror}",
            hint="mount configfs, load sev-guest or tdx_guest, and run as root; see 'opaque-jobs doctor'",
        ) from None
    try:
        yield entry
    finally:
        with suppress(OSError):
            entry.rmdir()


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_BYTES)
    except OSError as error:
        raise ConfigurationError(
            f"the kernel's attestation does not give its {path.name}: {error.strerror}", hint="see 'opaque-jobs doctor'"
        ) from None


def _read_optional(path: Path) -> bytes:
    """Read what only some kinds of hardware have."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _write(path: Path, data: bytes) -> None:
    try:
        with path.open("wb", buffering=0) as file:
            file.write(data)
    except OSError as error:
        raise ConfigurationError(
            f"the kernel's attestation does not take its {path.name}: {error.strerror}", hint="see 'opaque-jobs doctor'"
        ) from None


def _number(path: Path) -> int:
    try:
        return int(_read(path))
    except ValueError:
        raise ConfigurationError("the kernel's attestation counts in another form", hint="see 'opaque-jobs doctor'") from None
