"""What a home knows beforehand of simulated enclaves: the development key of its own machine."""

from opaque_jobs.crypto.keys import VerifyKey
from opaque_jobs.crypto.service_keys import load_service_key
from opaque_jobs.domain.receipt_trust import ReceiptTrust
from opaque_jobs.errors import NotFoundError
from opaque_jobs.settings import Settings

__all__ = ["believed_keys", "own_trust"]


def believed_keys(settings: Settings) -> list[VerifyKey]:
    """Give the simulated hardware's key, if this installation has one."""
    try:
        return [load_service_key(settings.simulated_key_path).public]
    except NotFoundError:
        return []


def own_trust(settings: Settings) -> ReceiptTrust:
    """Give what this installation knows beforehand of its own runs: its simulated hardware; the rest is in its database."""
    return ReceiptTrust(
        v=1,
        workspace_genesis=None,
        log_key=None,
        brokers={},
        simulated_keys=tuple(key.text for key in believed_keys(settings)),
    )
