"""Destroying a data set's keys at the own broker, and saying so in the logs."""

from datetime import UTC, datetime
from pathlib import Path

from opaque_jobs.broker.erasure import erase_keys
from opaque_jobs.cli.session import open_broker
from opaque_jobs.domain.workspace import MemberEntry
from opaque_jobs.errors import DeniedError
from opaque_jobs.services import Services

__all__ = ["forget_keys"]


def forget_keys(opened: Services, member: MemberEntry, dataset_id: str, passphrase_file: Path | None) -> tuple[str, ...]:
    """Destroy all keys of a data set of the member's organisation for good; said again, it finishes what was interrupted.

    Returns:
        Ids of the workspaces whose logs say so.

    Raises:
        DeniedError: The data set is another organisation's.
        NotFoundError: There is no such data set, or the broker does not live here.
        TrustError: The passphrase is wrong.
    """
    owner = opened.datasets.show(dataset_id, actor=member.id).organisation_id
    if owner != member.organisation_id:
        raise DeniedError("the data set is another organisation's", hint="only its own members can destroy its keys")
    keys = open_broker(opened, owner, passphrase_file)
    statement = erase_keys(opened.context.settings.broker_dir(owner), keys, dataset_id, now=datetime.now(UTC))
    return opened.datasets.record_erasure(actor=member.id, dataset_id=dataset_id, envelope=statement)
