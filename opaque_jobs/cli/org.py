"""`opaque-jobs org`: the organisations, each with a key that opens its results and a broker that holds its data sets' keys."""

import shutil
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Annotated

import typer

from opaque_jobs.broker.config import claimed_config, set_up_broker
from opaque_jobs.cli import shares
from opaque_jobs.cli.command import Noun, common
from opaque_jobs.cli.documents import organisation_document, own_organisation_document, rotated_document
from opaque_jobs.cli.finding import find_organisation
from opaque_jobs.cli.output import print_record, print_rows
from opaque_jobs.cli.own_organisation import organisation_here
from opaque_jobs.cli.passphrase import NewPassphraseFile, PassphraseFile, ask_for_new_key
from opaque_jobs.cli.places import KeyStoreName, KeyStoreSettings, new_place
from opaque_jobs.cli.progress import step
from opaque_jobs.cli.rotation import Again, Making, print_next_steps, rotate_sealing_key
from opaque_jobs.cli.session import open_broker, services
from opaque_jobs.client.keys import check_no_key, organisation_key_path
from opaque_jobs.client.organisation import compared_organisation, members_here
from opaque_jobs.crypto.key_files import IN_FILE, KeyKind, Place, create_key_file, write_new_private_file
from opaque_jobs.crypto.key_stores import FILE
from opaque_jobs.crypto.keys import Signer, VerifyKey
from opaque_jobs.crypto.service_keys import create_service_key, load_service_key
from opaque_jobs.domain.ids import check_name, new_id
from opaque_jobs.domain.workspace import OrganisationEntry
from opaque_jobs.errors import ConflictError, NotFoundError
from opaque_jobs.protocol.views import OrganisationView
from opaque_jobs.services import Services
from opaque_jobs.settings import Settings
from opaque_jobs.standalone.broker_process import local_brokers
from opaque_jobs.standalone.local_session import local_session
from opaque_jobs.standalone.ports import check_port, is_free

__all__ = ["app", "create_organisation"]

_FIRST_PORT = 8701

app = Noun(help="Organisations: each has a sealing key and a key broker of its own.")
app.add_typer(shares.app, name="shares")


def _development_key(settings: Settings) -> VerifyKey:
    """Give the public key of this installation's simulated hardware, made at its first use."""
    try:
        return load_service_key(settings.simulated_key_path).public
    except NotFoundError:
        return create_service_key(settings.simulated_key_path)


def create_organisation(
    opened: Services, *, name: str, passphrase: str, port: int, simulated: bool, place: Place = IN_FILE
) -> OrganisationView:
    """Make an organisation in this home: sealing key, broker with its keys, registration. All or nothing.

    Args:
        opened: The services.
        name: Its name.
        passphrase: For both key files; the PIN or token of another key store.
        port: Loopback port of its broker.
        simulated: Whether its broker may believe this installation's simulated hardware.
        place: Where both keys are kept.

    Raises:
        ConflictError: The name is taken, or its key file exists.
        InvalidInputError: The name is not valid, or the passphrase is too short.
    """
    _check_free(opened, name)
    settings = opened.context.settings
    organisation_id = new_id("org")
    key_file, folder = organisation_key_path(settings, name), settings.broker_dir(organisation_id)
    pinned = [_development_key(settings)] if simulated else []
    own = create_key_file(key_file, kind=KeyKind.ORGANISATION, owner_id=organisation_id, passphrase=passphrase, place=place)
    try:
        broker = set_up_broker(
            folder, organisation_id=organisation_id, passphrase=passphrase, port=port, simulated_keys=pinned, place=place
        )
        assert own.sealing and broker.sealing and broker.signing  # noqa: S101, PT018 - what these kinds of file hold
        entry = OrganisationEntry(
            id=organisation_id,
            name=name,
            sealing_key=own.sealing.text,
            broker_deposit_key=broker.sealing.text,
            broker_signing_key=broker.signing.text,
        )
        return opened.workspaces.register_organisation(entry, broker_address=f"http://127.0.0.1:{port}")
    except BaseException:
        key_file.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _check_free(opened: Services, name: str) -> None:
    check_name(name, what="organisation")
    if name in {each.entry.name for each in opened.workspaces.organisations()}:
        raise ConflictError(f"there is an organisation '{name}' already", hint="choose another name")
    check_no_key(organisation_key_path(opened.context.settings, name))


def _broker_port(opened: Services, wanted: int | None) -> int:
    """Give the port of a new broker: the wanted one if it is free and no other broker's, else the next such.

    Raises:
        ConfigurationError: Something listens there.
        ConflictError: It belongs to another organisation's broker in this home.
    """
    settings = opened.context.settings
    taken = {claimed_config(settings.broker_dir(each.entry.id)).port: each.entry.name for each in local_brokers(opened)}
    if wanted is None:
        return next(port for port in count(_FIRST_PORT) if port not in taken and is_free(port))
    if wanted in taken:
        raise ConflictError(
            f"port {wanted} belongs to the key broker of '{taken[wanted]}'", hint="give another with --broker-port", port=wanted
        )
    check_port(wanted, "the new key broker")
    return wanted


@app.command("create")
def create(
    *,
    name: Annotated[str, typer.Argument(help="1-50 letters, digits, spaces, '_' or '-'.")],
    broker_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Loopback port of its key broker; the next free number if left out.")
    ] = None,
    simulated: Annotated[
        bool,
        typer.Option(
            help="Whether its broker may release keys to this machine's simulated enclave. "
            "Simulated protects nothing against whoever runs the machine."
        ),
    ] = True,
    key_store: KeyStoreName = FILE,
    key_store_setting: KeyStoreSettings,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Make an organisation in this home: its sealing key and its key broker.

    Example: opaque-jobs org create Hospital
    """
    with services() as opened:
        _check_free(opened, name)
        port = _broker_port(opened, broker_port)
        place = new_place(key_store, key_store_setting)
        passphrase = ask_for_new_key(place, f"organisation '{name}'", file=passphrase_file)
        view = create_organisation(opened, name=name, passphrase=passphrase, port=port, simulated=simulated, place=place)
    print_record(organisation_document(view), as_json=common().json, title=f"organisation '{name}' made")


@app.command("list")
def list_() -> None:
    """List the organisations."""
    with services() as opened:
        rows = [organisation_document(view) for view in opened.workspaces.organisations()]
    print_rows(
        rows,
        ["name", "id", "broker", "sealing_key_id"],
        as_json=common().json,
        empty="no organisations yet: make one with 'opaque-jobs org create NAME'",
    )


@app.command("show")
def show(*, name: Annotated[str, typer.Argument(help="Organisation, by name or id.")]) -> None:
    """Show an organisation."""
    with services() as opened:
        view = find_organisation(opened, name)
    print_record(organisation_document(view), as_json=common().json)


@app.command("export")
def export(
    *,
    name: Annotated[str, typer.Argument(help="The organisation, by name.")],
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="Where to write; must not exist.")],
    broker_address: Annotated[
        str | None, typer.Option(help="Where its members reach its broker; its own loopback port if left out.")
    ] = None,
) -> None:
    """Write an organisation's public keys, from the key files here, for 'opaque-jobs member trust' in its members' homes."""
    with services() as opened:
        entry, settings = find_organisation(opened, name).entry, opened.context.settings
        own = organisation_here(settings, entry, organisation_key_path(settings, entry.name))
    if own is None:
        raise NotFoundError(f"the key broker of '{entry.name}' is not in this home", hint="do this where it lives")
    own = replace(own, broker_address=broker_address or own.broker_address)
    write_new_private_file(to, own.to_bytes())
    print_record({**own_organisation_document(own), "file": str(to)}, as_json=common().json)


@app.command("rotate-key")
def rotate_key(
    *,
    name: Annotated[str, typer.Argument(help="The organisation, by name.")],
    again: Again = False,
    key_store: KeyStoreName = FILE,
    key_store_setting: KeyStoreSettings,
    passphrase_file: PassphraseFile = None,
    new_passphrase_file: NewPassphraseFile = None,
) -> None:
    """Give an organisation a new sealing key, signed by its broker key.

    The new key is proposed to all workspaces; when all members of one have accepted, its new epoch begins: jobs need a new
    review, and results are sealed to the new key. The present key's file is kept aside: earlier results open with it. Said
    again after an interruption, it goes on where it stopped.

    Example: opaque-jobs org rotate-key Hospital
    """
    with services() as opened:
        view, settings = find_organisation(opened, name), opened.context.settings
        entry, place = view.entry, new_place(key_store, key_store_setting)
        path, new_file = organisation_key_path(settings, entry.name), new_passphrase_file or passphrase_file

        def make(fresh: Path) -> None:
            passphrase = ask_for_new_key(place, f"the new key of organisation '{entry.name}'", file=new_file)
            create_key_file(fresh, kind=KeyKind.ORGANISATION, owner_id=entry.id, passphrase=passphrase, place=place)

        def authorise() -> Signer:
            return open_broker(opened, entry.id, passphrase_file).signing

        with step("changing the key") as shown:
            done = rotate_sealing_key(opened, view, path, Making(make=make, authorise=authorise, step=shown.say, again=again))
            for each in map(opened.workspaces.member_for_login, members_here(settings, entry.id)):
                compared_organisation(local_session(opened, each), each)
    print_record(rotated_document(done), as_json=common().json, title=f"organisation '{entry.name}' has a new key")
    if not common().json:
        print_next_steps(done)
