"""The release policy of a data set: one for all its versions, that of the deposit which its owner signed last.

A refresh that says nothing of the policy brings the one in force along. Another policy reaches jobs on earlier versions too: what
they were approved under is not in force any more.
"""

from opaque_jobs.broker.store import Transaction
from opaque_jobs.crypto.custody import open_deposit
from opaque_jobs.crypto.keys import SealingKey
from opaque_jobs.domain.dataset import SaltedPolicy

__all__ = ["policy_in_force"]


def policy_in_force(memory: Transaction, dataset_id: str, key: SealingKey) -> SaltedPolicy | None:
    """Return a data set's policy; None if no version of it was deposited.

    Args:
        memory: The broker's.
        dataset_id: The data set.
        key: The broker's, that deposits are sealed to.
    """
    deposit = memory.newest_deposit(dataset_id)
    return None if deposit is None else open_deposit(deposit, key)[1]
