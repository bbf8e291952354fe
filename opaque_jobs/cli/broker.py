"""`opaque-jobs broker`: one organisation's key broker, run by that organisation."""

from typing import Annotated

import typer

from opaque_jobs.broker.client import BrokerClient
from opaque_jobs.broker.config import believe_simulated, key_path, load_config, pin_member, unpin_member
from opaque_jobs.broker.server import serve as serve_broker
from opaque_jobs.cli.command import Noun, common
from opaque_jobs.cli.output import print_record, stderr
from opaque_jobs.cli.passphrase import PassphraseFile, ask_for_key
from opaque_jobs.cli.session import services
from opaque_jobs.crypto.keys import VerifyKey

__all__ = ["app"]

app = Noun(help="Key brokers: each holds one organisation's data set keys and decides alone who gets them.")

Org = Annotated[str, typer.Argument(help="Organisation, by name or id.")]


@app.command("serve")
def serve(
    *,
    org: Org,
    port: Annotated[
        int | None, typer.Option(help="Loopback port; the broker's own setting if left out, 0 for any free one.")
    ] = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Run an organisation's key broker until Ctrl-C ('opaque-jobs up' does this for all that live here)."""
    with services() as opened:
        entry = opened.workspaces.organisation(org).entry
        folder = opened.context.settings.broker_dir(entry.id)
    load_config(folder)
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
        view = opened.workspaces.organisation(org)
    with BrokerClient(view.broker_address) as client:
        print_record({"address": view.broker_address, **client.health()}, as_json=common().json)


@app.command("move")
def move(*, org: Org, address: Annotated[str, typer.Argument(help="http(s)://host:port")]) -> None:
    """Tell this installation that a key broker answers elsewhere now (its keys stay)."""
    with services() as opened:
        known = opened.workspaces
        view = known.move_broker(known.organisation(org).entry.id, broker_address=address)
    print_record({"organisation": view.entry.name, "address": view.broker_address}, as_json=common().json)


@app.command("pin")
def pin(*, member: Annotated[str, typer.Argument(help="A member of the broker's organisation, by name.")]) -> None:
    """Pin the key of an own member at the broker: only what pinned members sign can deposit keys or share data sets."""
    with services() as opened:
        entry = opened.workspaces.member_for_login(member)
        pin_member(opened.context.settings.broker_dir(entry.organisation_id), entry)
    print_record({"member": entry.name, "key_id": entry.key_id, "pinned": True}, as_json=common().json)


@app.command("believe")
def believe(
    *, org: Org, key: Annotated[str, typer.Argument(help="What 'opaque-jobs receipt simulated-key' prints on that machine.")]
) -> None:
    """Let a broker here release keys to another machine's [bold]simulated[/] enclaves, whose owner can then read the data.

    For trying out how several homes work together. Runs still need everybody's approval, and jobs that accept simulated enclaves.
    """
    with services() as opened:
        entry = opened.workspaces.organisation(org).entry
        folder = opened.context.settings.broker_dir(entry.id)
    believe_simulated(folder, VerifyKey.parse(key))
    print_record({"organisation": entry.name, "believes": key}, as_json=common().json)


@app.command("unpin")
def unpin(*, member: Annotated[str, typer.Argument(help="A member of the broker's organisation, by name.")]) -> None:
    """Let an own member go: the broker believes their key no more, and workspaces may change without them."""
    with services() as opened:
        entry = opened.workspaces.member_for_login(member)
        unpin_member(opened.context.settings.broker_dir(entry.organisation_id), entry.id)
    print_record({"member": entry.name, "key_id": entry.key_id, "pinned": False}, as_json=common().json)
