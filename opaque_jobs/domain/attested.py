"""What each kind of evidence vouches for and what it does not: one text for receipts, where it is signed, and for every page.

Today an attested guest holds the Airflow worker beside the sandbox, and the worker gets evidence for any 48 bytes it asks for.
The words below say so, until the enclave is a guest of its own.
"""

from collections.abc import Mapping
from typing import Final

from opaque_jobs.domain.job import TeeKind

__all__ = ["ATTESTED", "measured_runtime"]

_HARDWARE: Final = (
    "Attested: the guest that was launched, by its launch measurement and the policy that the members signed. "
    "Not attested: the enclave's runtime, which nobody measured, and which program in the guest asked for the evidence. "
    "The Airflow worker runs in the same guest and can ask in the enclave's place, so whoever controls it can read the data. "
    "Experimental."
)
ATTESTED: Final[Mapping[TeeKind, str]] = {
    TeeKind.SIMULATED: (
        "Attested: nothing. A development key of this machine stands in for hardware. "
        "Whoever runs the machine can read the data and can change what runs."
    ),
    TeeKind.SEV_SNP: _HARDWARE,
    TeeKind.TDX: _HARDWARE,
    TeeKind.NITRO: _HARDWARE,
}


def measured_runtime(kind: TeeKind, approved: str) -> str | None:
    """Return the digest of the runtime that a receipt may state.

    Args:
        kind: Kind of evidence.
        approved: The digest that the job names.

    Returns:
        The digest if evidence of this kind carries it, which is then compared with the approved one; None on hardware.
    """
    return approved if kind is TeeKind.SIMULATED else None
