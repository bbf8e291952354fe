"""`opaque-jobs member`: the people, and the keys that speak for them."""

from typing import Annotated

import typer

from opaque_jobs.broker.config import config_path, pin_member
from opaque_jobs.cli.command import Noun, common
from opaque_jobs.cli.documents import member_document
from opaque_jobs.cli.output import print_record, print_rows
from opaque_jobs.cli.passphrase import PassphraseFile, ask_for_new_key
from opaque_jobs.cli.places import KeyStoreName, KeyStoreSettings, new_place
from opaque_jobs.cli.session import member_key_path, services
from opaque_jobs.crypto.key_files import IN_FILE, KeyKind, Place, create_key_file
from opaque_jobs.crypto.key_stores import FILE
from opaque_jobs.domain.ids import check_name, new_id
from opaque_jobs.domain.workspace import MemberEntry
from opaque_jobs.services import Services

__all__ = ["app", "create_member"]

app = Noun(help="Members: the people of an organisation, each with a signing key of their own.")


def create_member(opened: Services, *, name: str, organisation: str, passphrase: str, place: Place = IN_FILE) -> MemberEntry:
    """Make a member's key file in this home, register the member, and pin the key at the organisation's broker if it lives here.

    Raises:
        ConflictError: The name is taken, or its key file exists.
        NotFoundError: The organisation is not registered.
    """
    check_name(name, what="member")
    owner = opened.workspaces.organisation(organisation).entry
    member_id = new_id("member")
    path = member_key_path(opened.context.settings, name)
    public = create_key_file(path, kind=KeyKind.MEMBER, owner_id=member_id, passphrase=passphrase, place=place)
    try:
        entry = opened.workspaces.register_member(
            MemberEntry(
                id=member_id, name=name, organisation_id=owner.id, public_key=public.signing.text if public.signing else ""
            )
        )
    except BaseException:
        path.unlink()  # a key that nobody knows
        raise
    folder = opened.context.settings.broker_dir(owner.id)
    if config_path(folder).exists():
        pin_member(folder, entry)
    return entry


@app.command("create")
def create(
    *,
    name: Annotated[str, typer.Argument(help="Log-in name, 1-50 letters, digits, spaces, '_' or '-'.")],
    org: Annotated[str, typer.Option(help="The member's organisation, by name or id.")],
    key_store: KeyStoreName = FILE,
    key_store_setting: KeyStoreSettings,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Make a member with a fresh signing key in this home, or in a key store that this home refers to.

    Example: opaque-jobs member create alice --org Hospital
    """
    with services() as opened:
        check_name(name, what="member")
        place = new_place(key_store, key_store_setting)
        passphrase = ask_for_new_key(place, f"member '{name}'", file=passphrase_file)
        entry = create_member(opened, name=name, organisation=org, passphrase=passphrase, place=place)
    print_record(member_document(entry), as_json=common().json, title=f"member '{name}' made")


@app.command("list")
def list_(*, org: Annotated[str | None, typer.Option(help="Only of this organisation.")] = None) -> None:
    """List the registered members."""
    with services() as opened:
        owners = {each.entry.id: each.entry.name for each in opened.workspaces.organisations()}
        wanted = opened.workspaces.organisation(org).entry.id if org else None
        rows = [
            {**member_document(entry), "organisation": owners[entry.organisation_id]}
            for entry in opened.workspaces.members(organisation_id=wanted)
        ]
    print_rows(rows, ["name", "organisation", "id", "key_id"], as_json=common().json, empty="no members yet")
