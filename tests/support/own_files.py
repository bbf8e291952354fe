"""What stands in a member's own home beside the database: the public part of their key file, and their organisation's pin."""

import sqlite3
from contextlib import closing

from opaque_jobs.client.keys import member_key_path
from opaque_jobs.client.memory import memory_path
from opaque_jobs.client.organisation import OwnOrganisation, pin_organisation
from opaque_jobs.client.rosters import accept_roster, waiting
from opaque_jobs.crypto.key_files import KeyKind
from opaque_jobs.domain.canonical import canonical_bytes, digest


def write_own_files(cast, *names):
    """Write them for people of a consortium, without waiting for a passphrase to be stretched: nobody opens these keys."""
    settings = cast.services.context.settings
    settings.keys_dir.mkdir(parents=True, exist_ok=True)
    for name in names:
        entry = cast.people[name].entry
        write_public_part(settings, entry)
        owner = cast.organisations[entry.organisation_id.removeprefix("org-")].entry
        pin_organisation(settings, name, OwnOrganisation(v=1, entry=owner, broker_address="http://127.0.0.1:8701"))


def write_public_part(settings, member):
    """Write a member's key file with nothing in it that opens."""
    public = {"ed25519": member.public_key}
    document = {"v": 3, "kind": str(KeyKind.MEMBER), "owner_id": member.id, "public": public, "store": "file", "held": {}}
    path = member_key_path(settings, member.name)
    path.write_bytes(canonical_bytes(document | {"check": digest(canonical_bytes(document))}))


def forget(settings, name, *tables):
    """Take away part of what a member's client remembers; all of it if no part is named."""
    path = memory_path(settings, name)
    if not tables:
        path.unlink(missing_ok=True)
    for table in tables:
        with closing(sqlite3.connect(path)) as rows, rows:
            rows.execute(f"DELETE FROM {table}")  # noqa: S608


def accept_shown(opened, workspace_id, member, key, **more):
    """Accept the list that waits, as its member reads it now."""
    seen = waiting(opened.workspaces.show(workspace_id)).digest
    return accept_roster(opened, workspace_id, member, key, expected_digest=seen, **more)
