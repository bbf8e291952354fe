"""`opaque-jobs log`: what happened in a workspace, in an order that nobody can change afterwards."""

from typing import Annotated, Any

import typer

from opaque_jobs.cli.command import Noun, common
from opaque_jobs.cli.log_heads import verified_head
from opaque_jobs.cli.output import print_record, print_rows, stderr
from opaque_jobs.cli.session import Acting, acting_member, services
from opaque_jobs.crypto.checkpoints import verifier_key
from opaque_jobs.crypto.keys import VerifyKey
from opaque_jobs.domain.log import LogEntry
from opaque_jobs.services import Services

__all__ = ["app"]

app = Noun(help="Logs: every member list, vote, withdrawal, release and run of a workspace, in a tree that only grows.")

Workspace = Annotated[str, typer.Argument(help="Workspace, by name or id.")]


@app.command("checkpoint")
def checkpoint(*, workspace: Workspace, acting: Acting = None) -> None:
    """Fetch the newest checkpoint, check that it continues what you have seen, and print it.

    Members who compare theirs see at once whether all look at the same log.
    """
    with services() as opened:
        actor = acting_member(opened, acting)
        found = opened.workspaces.show(workspace, actor=actor.id).id
        seen = verified_head(opened, actor, found)
        head = opened.logs.head(found, actor=actor.id)
    if not common().json:
        stderr().print(f"verified: the log continues what {actor.name} has seen of it")
    print_record(
        {
            "workspace": found,
            "size": seen.size,
            "root": seen.root.hex(),
            "log_key": verifier_key(found, VerifyKey.parse(head.log_key)),
            "note": head.checkpoint,
        },
        as_json=common().json,
    )


@app.command("show")
def show(
    *,
    workspace: Workspace,
    first: Annotated[int, typer.Option("--from", min=0, help="Index of the first entry.")] = 0,
    count: Annotated[int, typer.Option(min=1, max=100_000, help="How many entries.")] = 100,
    acting: Acting = None,
) -> None:
    """List entries, oldest first."""
    with services() as opened:
        actor = acting_member(opened, acting)
        found = opened.workspaces.show(workspace, actor=actor.id).id
        entries = [each.entry for each in opened.logs.entries(found, actor=actor.id, first=first, count=count)]
        names = _names(opened)
    print_rows((_row(entry, names) for entry in entries), ("seq", "at", "kind", "about", "by", "facts"), as_json=common().json)


def _names(opened: Services) -> dict[str, str]:
    members = {each.id: each.name for each in opened.workspaces.members()}
    return members | {each.entry.id: each.entry.name for each in opened.workspaces.organisations()}


def _row(entry: LogEntry, names: dict[str, str]) -> dict[str, Any]:
    actor = entry.facts.get("actor") or entry.facts.get("organisation_id")
    shown = {key: value for key, value in entry.facts.items() if value is not None and key != "actor"}
    return {
        "seq": entry.seq,
        "at": entry.at,
        "kind": entry.kind.value,
        "about": names.get(entry.subject, entry.subject),
        "by": names.get(str(actor), actor),
        "facts": shown,
        "statement": entry.statement,
    }
