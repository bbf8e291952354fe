"""`opaque-jobs broker`: one organisation's key broker, run by that organisation."""

from dataclasses import replace
from typing import Annotated

import typer

from opaque_jobs.broker.config import (
    believe_simulated,
    claimed_config,
    config_path,
    database_path,
    disbelieve_simulated,
    key_path,
    load_config,
    pin_member,
    unpin_member,
)
from opaque_jobs.broker.server import serve as serve_broker
from opaque_jobs.broker.store import Store
from opaque_jobs.cli.command import Noun, common, load_settings
from opaque_jobs.cli.displaying import confirming
from opaque_jobs.cli.finding import find_member, find_organisation
from opaque_jobs.cli.forgetting import forget_keys
from opaque_jobs.cli.output import print_record, stderr
from opaque_jobs.cli.passphrase import PassphraseFile, ask_for_key
from opaque_jobs.cli.session import Acting, known_member, member_key, open_broker, own_member, services
from opaque_jobs.client.broker import BrokerClient
from opaque_jobs.client.holds import hold
from opaque_jobs.client.keys import present_key_id
from opaque_jobs.client.memory import own_memory
from opaque_jobs.client.organisation import members_here, pin_organisation, pinned_organisation
from opaque_jobs.client.signed_names import checked_digest, held_job, is_id, named_dataset
from opaque_jobs.crypto.key_files import open_broker_keys
from opaque_jobs.crypto.keys import VerifyKey
from opaque_jobs.domain.release import HoldScope
from opaque_jobs.errors import InvalidInputError, NotFoundError, TrustError
from opaque_jobs.standalone.local_session import local_session

__all__ = ["app"]

app = Noun(help="Key brokers: each holds one organisation's data set keys and decides alone who gets them.")

Org = Annotated[str, typer.Argument(help="Organisation, by name or id.")]


@app.command("serve")
def serve(
    *,
    org: Annotated[str, typer.Option("--org", help="Organisation, by name or id.")],
    port: Annotated[
        int | None, typer.Option(help="Loopback port; the broker's own setting if left out, 0 for any free one.")
    ] = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Run an organisation's key broker until Ctrl-C ('opaque-jobs up' does this for all that live here)."""
    with services() as opened:
        entry = find_organisation(opened, org).entry
        folder = opened.context.settings.broker_dir(entry.id)
    claimed_config(folder)
    passphrase = ask_for_key(key_path(folder), f"the key broker of '{entry.name}'", file=passphrase_file)
    serve_broker(
        folder,
        passphrase=passphrase,
        port=port,
        on_ready=lambda address: stderr().print(f"the key broker of '{entry.name}' answers at {address}"),
    )


@app.command("show")
def show(*, org: Org) -> None:
    """Ask an organisation's key broker whether it is there, and for its public keys."""
    with services() as opened:
        view = find_organisation(opened, org)
    with BrokerClient(view.broker_address) as client:
        print_record({"address": view.broker_address, **client.health()}, as_json=common().json)


@app.command("move")
def move(*, org: Org, address: Annotated[str, typer.Argument(help="http(s)://host:port")]) -> None:
    """Tell this installation, and its members in this home, that a key broker answers elsewhere now (its keys stay)."""
    with services() as opened:
        known = opened.workspaces
        view = known.move_broker(find_organisation(opened, org).entry.id, broker_address=address)
        settings = opened.context.settings
        for name in members_here(settings, view.entry.id):
            own = pinned_organisation(settings, find_member(opened, name))
            pin_organisation(settings, name, replace(own, broker_address=address))
    print_record({"organisation": view.entry.name, "address": view.broker_address}, as_json=common().json)


@app.command("pin")
def pin(
    *,
    member: Annotated[str, typer.Argument(help="A member of the broker's organisation, by name.")],
    key_id: Annotated[
        str | None,
        typer.Argument(
            help="The id of their key (sha256:...), as 'opaque-jobs member show' prints it where their key is; "
            "left out only if that is here."
        ),
    ] = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Pin the key of an own member at the broker: only what pinned members sign can deposit keys or share data sets.

    Whoever holds a pinned key can alone release the organisation's data: get the id from the member, not from the database.
    """
    with services() as opened:
        entry, settings = find_member(opened, member), opened.context.settings
        if entry.key_id != (key_id or present_key_id(settings, member)):
            raise TrustError(
                f"the database names another key of '{member}' than the one that is to be pinned",
                hint="nothing was pinned; compare with 'opaque-jobs member show' where the member's key is",
            )
        folder = opened.context.settings.broker_dir(entry.organisation_id)
        pin_member(folder, entry, open_broker(opened, entry.organisation_id, passphrase_file))
    print_record({"member": entry.name, "key_id": entry.key_id, "pinned": True}, as_json=common().json)


@app.command("believe")
def believe(
    *,
    org: Org,
    key: Annotated[str, typer.Argument(help="What 'opaque-jobs receipt simulated-key' prints on that machine.")],
    forget: Annotated[bool, typer.Option("--forget", help="Believe it no more, from the next request on.")] = False,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Let a broker here release keys to another machine's [bold]simulated[/] enclaves, whose owner can then read the data.

    For trying out how several homes work together. Runs still need everybody's approval, and jobs that accept simulated enclaves.
    """
    with services() as opened:
        entry = find_organisation(opened, org).entry
        folder, said = opened.context.settings.broker_dir(entry.id), VerifyKey.parse(key)
        keys = open_broker(opened, entry.id, passphrase_file)
    (disbelieve_simulated if forget else believe_simulated)(folder, said, keys)
    print_record({"organisation": entry.name, "key": key, "believed": not forget}, as_json=common().json)


@app.command("unpin")
def unpin(
    *,
    member: Annotated[str, typer.Argument(help="A member of the broker's organisation, by name.")],
    passphrase_file: PassphraseFile = None,
) -> None:
    """Let an own member go: the broker believes their key no more, and workspaces may change without them.

    Who has the name says the broker, as they were pinned, not the database.
    """
    folders = [each for each in load_settings().brokers_dir.glob("*") if config_path(each).exists()]
    pinned = [(folder, each) for folder in folders for each in claimed_config(folder).members if each.name == member]
    if len(pinned) != 1:
        raise NotFoundError(f"no broker here has pinned one member by the name '{member}'", hint="see 'opaque-jobs member list'")
    ((folder, entry),) = pinned
    passphrase = ask_for_key(key_path(folder), "the key broker", file=passphrase_file)
    unpin_member(folder, entry.id, open_broker_keys(key_path(folder), passphrase))
    print_record({"member": entry.name, "key_id": entry.key_id, "pinned": False}, as_json=common().json)


@app.command("hold")
def hold_(
    *,
    dataset: Annotated[str | None, typer.Option(help="Hold only this data set of your organisation, by name or id.")] = None,
    job: Annotated[
        str | None,
        typer.Option(help="Hold only this job, by name or id; or one revision of it, by digest."),
    ] = None,
    roster: Annotated[
        str | None, typer.Option("--list", help="Never believe this member list, by digest, as 'workspace cancel' says it.")
    ] = None,
    lift: Annotated[bool, typer.Option("--lift", help="Take the hold back.")] = False,
    acting: Acting = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Stop your organisation's broker from releasing keys, at once, for queued and scheduled runs too.

    Without options it holds everything. A run that has its keys already goes on; 'opaque-jobs run cancel' ends it.
    """
    if sum(each is not None for each in (dataset, job, roster)) > 1 or "" in (dataset, job, roster):
        raise InvalidInputError("a hold is on one thing", hint="give one of --dataset, --job and --list, or none for everything")
    settings = load_settings()
    actor, wanted = known_member(settings, acting), dataset or job or roster
    by_digest = wanted is not None and not dataset and (roster is not None or wanted.startswith("sha256:"))
    if wanted is not None and by_digest:
        checked_digest(wanted)
    by_name = wanted is not None and not (by_digest or is_id(wanted, "ds" if dataset else "job"))
    if actor is None or by_name:  # else it works without the database, whatever became of that
        with services() as opened:
            actor = own_member(opened, acting)
            session = local_session(opened, actor)
            if wanted is not None and by_name:
                wanted = named_dataset(session, actor, wanted) if dataset else held_job(session, actor, wanted)
    owner = pinned_organisation(settings, actor)
    scope = HoldScope.DATASET if dataset else HoldScope.JOB if job else HoldScope.ROSTER if roster else HoldScope.ALL
    subject = wanted or owner.entry.id
    signer = member_key(settings, actor, passphrase_file)
    if roster and lift:
        own_memory(settings, actor).forget_taken_back(roster)
    said = hold(owner, actor, signer, scope=scope, subject=subject, held=not lift)
    if roster and not lift:
        own_memory(settings, actor).remember_hold(roster, said)
    print_record(
        {"organisation": owner.entry.name, "scope": scope.value, "subject": subject, "held": not lift}, as_json=common().json
    )


@app.command("forget")
def forget(
    *,
    dataset: Annotated[str, typer.Argument(help="A data set of your organisation, by name or id.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    acting: Acting = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Destroy all keys of a data set at your organisation's broker [bold]for good[/]: nobody can decrypt its files any more.

    No key of it is ever taken again. The broker signs what it did, and the logs of the workspaces where the data set was ever
    shared say so. Copies of the broker's folder that you made are yours to destroy.
    """
    with services() as opened:
        actor = own_member(opened, acting)
        session = local_session(opened, actor)
        dataset_id = named_dataset(session, actor, dataset)
        confirming(yes)([f"All keys of data set {dataset_id} are destroyed for good: nobody can decrypt its files any more."])
        workspaces = forget_keys(opened, actor, dataset_id, passphrase_file)
    print_record({"dataset_id": dataset_id, "forgotten": True, "logged_in": list(workspaces)}, as_json=common().json)


@app.command("recover")
def recover(
    *,
    org: Org,
    clock: Annotated[
        bool,
        typer.Option(
            "--clock",
            help="Only forget the latest time that the broker has seen, if its clock was once too far ahead. What had a deadline "
            "or a lease counts by the clock as it is now: set that right first.",
        ),
    ] = False,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Let a broker go on whose database is an older copy, or whose clock was set back, after you know why it is.

    Releases that it has forgotten are learned from the workspaces' logs. What was told to it alone is lost: share data sets, hold
    and withdraw again what was shared, held or withdrawn since that copy.
    """
    with services() as opened:
        entry = find_organisation(opened, org).entry
        folder = opened.context.settings.broker_dir(entry.id)
        keys = open_broker(opened, entry.id, passphrase_file)
    store = Store(database_path(folder), keys)
    load_config(folder, keys, store)
    if clock:
        store.reset_clock()
    else:
        store.recover()
    print_record({"organisation": entry.name, "recovered": True}, as_json=common().json)
