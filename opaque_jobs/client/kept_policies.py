"""What an organisation's own client keeps of the release policies that its members made: rule and salt, for each data set.

Everybody sees a policy's commitment; only who holds the salt can tell what it commits to. A refresh under a rule that is kept
here commits to it as before, so that the approval of jobs which follow the data set still covers it.
"""

import secrets
from typing import Final

from opaque_jobs.client.memory import Memory
from opaque_jobs.domain.dataset import ReleasePolicy, SaltedPolicy
from opaque_jobs.domain.document import from_bytes, to_bytes
from opaque_jobs.settings import Settings

__all__ = ["keep_policy", "kept_policy", "salted_policy"]

_SALT_BYTES: Final = 32


def salted_policy(settings: Settings, organisation_id: str, dataset_id: str, policy: ReleasePolicy) -> SaltedPolicy:
    """Give a policy with the salt that it has had for this data set, or with a new one.

    Raises as `kept_policy`.
    """
    known = _kept(settings, organisation_id, dataset_id)
    # By their bytes: in Python, though not in SQL, 1 equals true.
    same = [each for each in known if to_bytes(each.policy) == to_bytes(policy)]
    return same[-1] if same else SaltedPolicy(policy=policy, salt=secrets.token_bytes(_SALT_BYTES).hex())


def keep_policy(settings: Settings, organisation_id: str, dataset_id: str, salted: SaltedPolicy) -> None:
    """Keep a data set's policy beside those that it had before.

    Raises:
        ConfigurationError: It cannot be read or written.
        InvalidInputError: What is kept is damaged.
    """
    _memory(settings, organisation_id).keep_policy(dataset_id, salted.commitment, to_bytes(salted))


def kept_policy(settings: Settings, organisation_id: str, dataset_id: str, commitment: str) -> ReleasePolicy | None:
    """Give the policy of the own organisation's that a commitment is to; None if it is to none that is kept here.

    Raises:
        ConfigurationError: It cannot be read.
        InvalidInputError: What is kept is damaged.
    """
    for each in _kept(settings, organisation_id, dataset_id):
        if each.commitment == commitment:
            return each.policy
    return None


def _kept(settings: Settings, organisation_id: str, dataset_id: str) -> list[SaltedPolicy]:
    kept = _memory(settings, organisation_id).policies(dataset_id)
    return [from_bytes(SaltedPolicy, each, what="a kept policy") for each in kept]


def _memory(settings: Settings, organisation_id: str) -> Memory:
    return Memory(settings.keys_dir / f"{organisation_id}.policies.db")
