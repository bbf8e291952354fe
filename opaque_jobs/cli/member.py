"""`opaque-jobs member`: the people, and the keys that speak for them."""

import functools
import shlex
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Annotated

import typer

from opaque_jobs.broker.config import pin_member
from opaque_jobs.cli.command import Noun, common, load_settings, repeatable
from opaque_jobs.cli.displaying import can_ask
from opaque_jobs.cli.documents import member_document, own_organisation_document, rotated_document
from opaque_jobs.cli.finding import find_member, find_organisation
from opaque_jobs.cli.output import print_record, print_rows
from opaque_jobs.cli.own_organisation import organisation_here
from opaque_jobs.cli.passphrase import BrokerPassphraseFile, NewPassphraseFile, PassphraseFile, ask_for_key, ask_for_new_key
from opaque_jobs.cli.places import KeyStoreName, KeyStoreSettings, new_place
from opaque_jobs.cli.progress import step
from opaque_jobs.cli.rotation import Again, Making, print_next_steps, rotate_member_key
from opaque_jobs.cli.session import member_key, open_broker, services
from opaque_jobs.client.keys import check_no_key, member_key_path, organisation_key_path, own_key_ids, present_key_id
from opaque_jobs.client.organisation import parse_own_organisation, pin_organisation
from opaque_jobs.client.signed_names import checked_digest
from opaque_jobs.crypto.key_files import IN_FILE, KeyKind, Place, create_key_file, open_signing_key
from opaque_jobs.crypto.key_stores import FILE
from opaque_jobs.crypto.keys import BrokerKeys, Signer
from opaque_jobs.domain.dataset import DatasetManifest
from opaque_jobs.domain.ids import check_name, new_id
from opaque_jobs.domain.workspace import MemberEntry, OrganisationEntry
from opaque_jobs.errors import ConflictError, NotFoundError
from opaque_jobs.services import Services

__all__ = ["app", "create_member"]

app = Noun(help="Members: the people of an organisation, each with a signing key of their own.")


def create_member(
    opened: Services,
    *,
    name: str,
    organisation: str,
    passphrase: str,
    broker: Callable[[str], BrokerKeys],
    place: Place = IN_FILE,
) -> MemberEntry:
    """Make a member's key file in this home, register the member, and pin the key at the organisation's broker if it lives here.

    Args:
        opened: The services.
        name: Of the member.
        organisation: Theirs.
        passphrase: For the key file; the PIN or token of another key store.
        broker: Opens the keys of an organisation's broker, by the organisation's id; asked only if the broker lives here.
        place: Where the key is kept.

    Raises:
        ConflictError: The name is taken, or its key file exists.
        NotFoundError: The organisation is not registered.
    """
    owner = _check_free(opened, name, organisation)
    settings = opened.context.settings
    own = organisation_here(settings, owner, organisation_key_path(settings, owner.name))
    broker_keys = None if own is None else broker(owner.id)
    member_id = new_id("member")
    path = member_key_path(settings, name)
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
    if own is not None and broker_keys is not None:
        pin_member(settings.broker_dir(owner.id), entry, broker_keys)
        pin_organisation(settings, name, own)
    return entry


def _check_free(opened: Services, name: str, organisation: str) -> OrganisationEntry:
    """Give the organisation in which a member of this name can be made."""
    check_name(name, what="member")
    owner = find_organisation(opened, organisation).entry
    if name in {entry.name for entry in opened.workspaces.members()}:
        raise ConflictError(f"there is a member '{name}' already", hint="choose another log-in name")
    check_no_key(member_key_path(opened.context.settings, name))
    return owner


@app.command("create")
def create(
    *,
    name: Annotated[str, typer.Argument(help="Log-in name, 1-50 letters, digits, spaces, '_' or '-'.")],
    org: Annotated[str, typer.Option(help="The member's organisation, by name or id.")],
    key_store: KeyStoreName = FILE,
    key_store_setting: KeyStoreSettings,
    passphrase_file: PassphraseFile = None,
    broker_passphrase_file: BrokerPassphraseFile = None,
) -> None:
    """Make a member with a fresh signing key in this home, or in a key store that this home refers to.

    Example: opaque-jobs member create alice --org Hospital
    """
    with services() as opened:
        _check_free(opened, name, org)
        place = new_place(key_store, key_store_setting)
        passphrase = ask_for_new_key(place, f"member '{name}'", file=passphrase_file)
        entry = create_member(
            opened,
            name=name,
            organisation=org,
            passphrase=passphrase,
            broker=lambda owner: open_broker(opened, owner, broker_passphrase_file),
            place=place,
        )
    print_record(member_document(entry), as_json=common().json, title=f"member '{name}' made")


@app.command("show")
def show(*, name: Annotated[str, typer.Argument(help="The member.")]) -> None:
    """Show the id of a member's key from the key file in this home: what their organisation's broker has to pin."""
    print_record({"name": name, "key_id": present_key_id(load_settings(), name)}, as_json=common().json)


@app.command("trust")
def trust(
    *,
    name: Annotated[str, typer.Argument(help="The member.")],
    file: Annotated[Path, typer.Argument(help="What 'opaque-jobs org export' wrote where the organisation's broker lives.")],
) -> None:
    """Let a member's commands in this home know the keys and the broker of their own organisation.

    Data is sealed to these keys only. Get the file from your organisation itself, and compare the key ids that this prints.
    """
    try:
        own = parse_own_organisation(file.read_bytes())
    except OSError:
        raise NotFoundError("the organisation's keys cannot be read", hint="check the path") from None
    with services() as opened:
        own_key_ids(opened.context.settings, find_member(opened, name))
        pin_organisation(opened.context.settings, name, own)
    print_record({"member": name, **own_organisation_document(own)}, as_json=common().json, title="its keys are pinned")


@app.command("list")
def list_(*, org: Annotated[str | None, typer.Option(help="Only of this organisation.")] = None) -> None:
    """List the registered members."""
    with services() as opened:
        owners = {each.entry.id: each.entry.name for each in opened.workspaces.organisations()}
        wanted = find_organisation(opened, org).entry.id if org else None
        rows = [
            {**member_document(entry), "organisation": owners[entry.organisation_id]}
            for entry in opened.workspaces.members(organisation_id=wanted)
        ]
    print_rows(
        rows,
        ["name", "organisation", "id", "key_id"],
        as_json=common().json,
        empty="no members yet: make one with 'opaque-jobs member create NAME --org ORGANISATION'",
    )


def _confirmed(manifests: Sequence[DatasetManifest], named: Sequence[str]) -> Collection[str]:
    """Return the digests of the manifests to sign again: those named, or all after they were listed and confirmed."""
    if named or not can_ask():
        return named
    rows = [
        {"data set": each.name, "version": each.dataset_version, "rows": each.rows, "digest": each.digest} for each in manifests
    ]
    print_rows(rows, ["data set", "version", "rows", "digest"], as_json=False)
    agreed = typer.confirm("Your former key signed these. Did you sign all of them yourself, and sign them again?")
    return [each.digest for each in manifests] if agreed else ()


@app.command("rotate-key")
def rotate_key(
    *,
    name: Annotated[str, typer.Argument(help="The member.")],
    lost: Annotated[
        bool,
        typer.Option("--lost", help="The present key opens no more: the organisation's broker key speaks for the member."),
    ] = False,
    stolen: Annotated[
        bool,
        typer.Option("--stolen", help="Somebody else may hold the present key: what it signed is never signed again."),
    ] = False,
    sign_again: Annotated[
        list[str],
        repeatable(
            "--sign-again", "Digest of a data set version that your former key signed, to sign with the new one. Repeatable."
        ),
    ],
    again: Again = False,
    key_store: KeyStoreName = FILE,
    key_store_setting: KeyStoreSettings,
    passphrase_file: PassphraseFile = None,
    new_passphrase_file: NewPassphraseFile = None,
    broker_passphrase_file: BrokerPassphraseFile = None,
) -> None:
    """Give a member a new signing key, signed by the present one, and propose it to all their workspaces.

    You sign the new member lists at once if they say nothing new but your key; what else they change is named, and left to
    'workspace accept'. Data set versions that your former key signed are listed, and signed again if you confirm it, or name
    their digests; but not after a theft (--stolen): encrypt that data again.

    When all members of a workspace have accepted, its new epoch begins: jobs need a new review. The present key's file is kept
    aside until then. Said again after an interruption, it goes on where it stopped.

    With --lost it rests on the organisation alone: whoever opens its key broker's file can name any key as a member's. Do it
    where that broker lives.

    Example: opaque-jobs member rotate-key alice
    """
    with services() as opened:
        member, settings = find_member(opened, name), opened.context.settings
        path, place = member_key_path(settings, name), new_place(key_store, key_store_setting)
        new_file = new_passphrase_file or passphrase_file
        secret: list[str] = []
        named = [checked_digest(each) for each in sign_again]

        def make(fresh: Path) -> None:
            secret.append(ask_for_new_key(place, f"the new key of member '{name}'", file=new_file))
            create_key_file(fresh, kind=KeyKind.MEMBER, owner_id=member.id, passphrase=secret[0], place=place)

        def open_new(at: Path) -> Signer:
            secret[:] = secret or [ask_for_key(at, f"the new key of member '{name}'", file=new_file)]
            return open_signing_key(at, secret[0])

        @functools.cache
        def broker() -> BrokerKeys:
            return open_broker(opened, member.organisation_id, broker_passphrase_file or (passphrase_file if lost else None))

        def authorise() -> Signer:
            return broker().signing if lost else member_key(settings, member, passphrase_file)

        with step("changing the key") as shown:
            making = Making(
                make=make,
                authorise=authorise,
                open_new=open_new,
                broker=broker,
                step=shown.say,
                again=again,
                sign_again=lambda manifests: _confirmed(manifests, named),
                named=named,
                stolen=stolen,
            )
            done = rotate_member_key(opened, member, path, making)
    print_record(rotated_document(done), as_json=common().json, title=f"member '{name}' has a new key")
    if not common().json:
        print_next_steps(
            done, "" if done.pinned else f"where the key broker lives: opaque-jobs broker pin {shlex.quote(name)} {done.key_id}"
        )
