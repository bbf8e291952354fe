"""Destroying a data set's keys for good, as a data-protection officer asks: no key, no plaintext, wherever its files are.

A tombstone stays: no deposit of that data set is ever taken again. The signed statement goes into the logs of the workspaces; a
broker whose owner goes on with an older copy of its database learns from there to destroy the keys again.

Trust: copies of the database that somebody made, together with the key file and its passphrase, still open; so do keys that an
enclave holds while its run lasts.
"""

from datetime import datetime
from pathlib import Path

from opaque_jobs.broker.config import database_path, load_config
from opaque_jobs.broker.store import Store
from opaque_jobs.crypto.keys import BrokerKeys
from opaque_jobs.crypto.release import sign_erasure
from opaque_jobs.domain.release import Erasure

__all__ = ["erase_keys"]


def erase_keys(folder: Path, keys: BrokerKeys, dataset_id: str, *, now: datetime) -> bytes:
    """Destroy all keys of a data set in a broker's database. Said again, the same statement is returned.

    Args:
        folder: The broker's; it may be running.
        keys: The broker's.
        dataset_id: The data set.
        now: Aware time.

    Returns:
        What the broker signs about it.

    Raises:
        ConfigurationError: The database cannot be written, or not be purged now: say it again.
        TrustError: The broker's settings were changed by somebody else.
    """
    store = Store(database_path(folder), keys)
    config = load_config(folder, keys, store)
    with store.transaction(in_full=True) as memory:
        known = memory.erasure(dataset_id)
        erasure = Erasure(
            v=1,
            organisation_id=config.organisation_id,
            dataset_id=dataset_id,
            versions=memory.deposited(dataset_id),
            erased_at=now.isoformat(),
        )
        statement = known or sign_erasure(erasure, keys.signing)
        memory.erase(dataset_id, statement)
    store.purge()
    return statement
