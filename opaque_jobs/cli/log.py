"""`opaque-jobs log`: what happened in a workspace, in an order that nobody can change afterwards."""

from pathlib import Path
from typing import Annotated, Any

import typer

from opaque_jobs.cli.command import Noun, common, repeatable
from opaque_jobs.cli.documents import moment
from opaque_jobs.cli.log_files import header, proven_document, write_lines
from opaque_jobs.cli.output import escape, print_json, print_record, print_rows, stderr
from opaque_jobs.cli.session import Acting, acting_member, services
from opaque_jobs.cli.steps import print_steps
from opaque_jobs.client.finding import find_workspace
from opaque_jobs.client.keys import own_key_ids
from opaque_jobs.client.log_heads import remembered, signed_log_key, verified_head, verified_note
from opaque_jobs.client.one_log import is_own_log
from opaque_jobs.client.signed_names import named_workspace
from opaque_jobs.crypto.checkpoints import Checkpoint, verifier_key, verify_checkpoint
from opaque_jobs.crypto.keys import VerifyKey
from opaque_jobs.crypto.witnesses import LogWitness, cosigned
from opaque_jobs.domain.document import to_json
from opaque_jobs.domain.log import LogEntry
from opaque_jobs.domain.workspace import MemberEntry, Roster
from opaque_jobs.errors import ConflictError, InvalidInputError, NotFoundError, TrustError
from opaque_jobs.services import Services
from opaque_jobs.services.log_audit import Witness, audit_log
from opaque_jobs.standalone.local_session import local_session

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
        session = local_session(opened, actor)
        found = named_workspace(session, actor, workspace)
        note, seen = verified_note(session, actor, found)
        key = signed_log_key(session, actor, found)
    if not common().json:
        stderr().print(f"verified: the log continues what {escape(actor.name)} has seen of it")
    print_record(
        {
            "workspace": found,
            "size": seen.size,
            "root": seen.root.hex(),
            "log_key": verifier_key(found, key),
            "note": note,
        },
        as_json=common().json,
    )


@app.command("witnessed")
def witnessed(
    *,
    workspace: Workspace,
    file: Annotated[Path, typer.Argument(help="A checkpoint of the log with cosignatures, as its witnesses give it out.")],
    witness: Annotated[list[str], repeatable("--witness", "NAME+ID+KEY of a witness that must have cosigned it. Repeatable.")],
    acting: Acting = None,
) -> None:
    """Compare a checkpoint that outsiders have cosigned with the log as you see it: were you shown what they were?

    Witnesses that you do not name are passed over. Example: opaque-jobs log witnessed Study note.txt --witness "w1+...+..."
    """
    try:
        note = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise NotFoundError("the checkpoint cannot be read", hint="check the path") from None
    named = [LogWitness.parse(each) for each in witness]
    if not named:
        raise InvalidInputError("no witness is named", hint="give --witness for each that you rely on")
    with services() as opened:
        actor = acting_member(opened, acting)
        session = local_session(opened, actor)
        roster = _in_force(opened, actor, workspace)
        told = verify_checkpoint(note, VerifyKey.parse(roster.log_key), workspace_id=roster.workspace_id)
        times = cosigned(note, named)
        missing = [each.name for each in named if each not in times]
        if missing:
            raise TrustError("a witness has not cosigned the checkpoint", hint=f"not there: {', '.join(missing)}")
        if not is_own_log(session, actor, roster.workspace_id, told):
            raise TrustError(
                "the log was shown differently to its witnesses and to you",
                hint="do not sign anything; compare 'opaque-jobs log checkpoint' with the other members",
            )
    shown = {each.name: moment(at) for each, at in times.items()}
    print_record({"workspace": roster.name, "size": told.size, "cosigned": shown}, as_json=common().json)


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
        session = local_session(opened, actor)
        found = find_workspace(session, workspace).id
        entries = [each.entry for each in opened.logs.entries(found, actor=actor.id, first=first, count=count)]
        names = _names(opened)
    print_rows((_row(entry, names) for entry in entries), ("seq", "at", "kind", "about", "by", "facts"), as_json=common().json)


@app.command("verify")
def verify(*, workspace: Workspace, acting: Acting = None) -> None:
    """Verify the whole log, step by step: make its tree anew from every entry, and check all that was signed.

    What is believed beforehand is your own key, and what your own command remembers of the log. The first entry that does not
    hold is named. Receipts have a command of their own: 'opaque-jobs receipt verify'.
    """
    with services() as opened:
        actor = acting_member(opened, acting)
        session = local_session(opened, actor)
        roster = _in_force(opened, actor, workspace)
        note = _signed(opened.logs.head(roster.workspace_id, actor=actor.id).checkpoint)
        witness = Witness(
            member_id=actor.id,
            key_ids=own_key_ids(opened.context.settings, actor),
            seen=remembered(session, actor, roster.workspace_id),
        )
        kept = opened.logs.kept(roster.workspace_id, actor=actor.id)
        report = audit_log(kept, note=note, in_force=roster, witness=witness)
        if report.holds:
            verified_head(session, actor, roster.workspace_id)
    if common().json:
        steps = [to_json(each) for each in report.steps]
        print_json({"workspace": roster.name, "holds": report.holds, "entry": report.entry, "steps": steps})
    else:
        print_steps(report.steps)
    if not report.holds:
        raise TrustError(
            f"the log does not hold: {report.steps[-1].problem}",
            hint="do not sign anything; compare 'opaque-jobs log checkpoint' with the other members",
            entry=report.entry,
        )


@app.command("prove")
def prove(
    *,
    workspace: Workspace,
    entry: Annotated[int, typer.Argument(min=0, help="Index of the entry, see 'log show'.")],
    acting: Acting = None,
) -> None:
    """Print one entry as JSON with the proof that it is in the log, for somebody outside.

    They need the log's key from you by another way ('log checkpoint' prints it), and nothing of this program.
    """
    with services() as opened:
        actor = acting_member(opened, acting)
        roster, note, seen = _verified(opened, actor, workspace)
        leaves = opened.logs.proven(roster.workspace_id, actor=actor.id, size=seen.size, first=entry, last=entry + 1)
        found = [proven_document(each, seen) for each in leaves]
    if not found:
        raise TrustError(f"entry {entry} of the log is missing", hint="run 'opaque-jobs log verify'", entry=entry)
    print_json({**header(roster, note), "entry": found[0]})


@app.command("export")
def export(
    *,
    workspace: Workspace,
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="Where to write; must not exist.")],
    acting: Acting = None,
) -> None:
    """Write the whole log as JSON lines, each entry with its proof, for somebody outside.

    The first line names the log and holds its newest checkpoint. The others hold an entry each: its exact bytes, what somebody
    signed, and the path to the checkpoint's root. There are names, ids and digests in it; no data, code or comments.
    """
    with services() as opened:
        actor = acting_member(opened, acting)
        roster, note, seen = _verified(opened, actor, workspace)
        leaves = opened.logs.proven(roster.workspace_id, actor=actor.id, size=seen.size)
        write_lines(to, header(roster, note), leaves, seen)
    print_record({"workspace": roster.name, "entries": seen.size, "file": str(to)}, as_json=common().json)


def _verified(opened: Services, actor: MemberEntry, workspace: str) -> tuple[Roster, str, Checkpoint]:
    """Give the member list in force, and the newest note after checking that it continues what the member has seen."""
    roster = _in_force(opened, actor, workspace)
    note, seen = verified_note(local_session(opened, actor), actor, roster.workspace_id)
    return roster, _signed(note), seen


def _in_force(opened: Services, actor: MemberEntry, workspace: str) -> Roster:
    view = opened.workspaces.show(named_workspace(local_session(opened, actor), actor, workspace), actor=actor.id)
    if view.roster is None:
        raise ConflictError("the workspace has no member list in force yet", hint="every member must accept it first")
    if view.roster.log_key != signed_log_key(local_session(opened, actor), actor, view.id).text:
        raise TrustError(
            "the database names another log than the member list that you signed",
            hint="do not sign anything; compare 'opaque-jobs log checkpoint' with the other members",
        )
    return view.roster


def _signed(note: str | None) -> str:
    if note is None:
        raise ConflictError("the log has no signed checkpoint yet", hint="its key is where the first workspace was made")
    return note


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
