"""An organisation from its own key files, where its broker lives."""

from pathlib import Path

from opaque_jobs.broker.config import claimed_config, config_path, key_path
from opaque_jobs.client.organisation import OwnOrganisation
from opaque_jobs.crypto.key_files import read_public_keys
from opaque_jobs.domain.workspace import OrganisationEntry
from opaque_jobs.errors import TrustError
from opaque_jobs.settings import Settings

__all__ = ["organisation_here"]


def organisation_here(settings: Settings, entry: OrganisationEntry, key_file: Path) -> OwnOrganisation | None:
    """Give an organisation from its own key files; None if its broker does not live in this home.

    Args:
        settings: Of this home.
        entry: Which one; only id and name are taken from it.
        key_file: Of its sealing key.

    Raises:
        NotFoundError: The broker is here, but not the organisation's key file.
        TrustError: The key file is another organisation's.
    """
    folder = settings.broker_dir(entry.id)
    if not config_path(folder).exists():
        return None
    own, broker = read_public_keys(key_file), read_public_keys(key_path(folder))
    if not own.sealing or not broker.sealing or not broker.signing or {own.owner_id, broker.owner_id} != {entry.id}:
        raise TrustError(
            f"the key files here are not those of the organisation that the database calls '{entry.name}'",
            hint="was the metadata database changed? compare with 'opaque-jobs org show'",
        )
    known = OrganisationEntry(
        id=entry.id,
        name=entry.name,
        sealing_key=own.sealing.text,
        broker_deposit_key=broker.sealing.text,
        broker_signing_key=broker.signing.text,
    )
    return OwnOrganisation(v=1, entry=known, broker_address=f"http://127.0.0.1:{claimed_config(folder).port}")
