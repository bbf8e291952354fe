"""`opaque-jobs workspace`: who works together, agreed by everybody's signature."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from opaque_jobs.cli.brokers import push
from opaque_jobs.cli.command import Noun, common, repeatable
from opaque_jobs.cli.documents import workspace_document
from opaque_jobs.cli.output import print_record, print_rows, stderr
from opaque_jobs.cli.passphrase import PassphraseFile
from opaque_jobs.cli.session import Acting, acting_member, open_member_key, services
from opaque_jobs.crypto.consent import sign_acceptance
from opaque_jobs.crypto.keys import Signer
from opaque_jobs.domain.workspace import MemberEntry, RunPolicy
from opaque_jobs.errors import ConflictError
from opaque_jobs.services import Services
from opaque_jobs.services.views import WorkspaceView

__all__ = ["accept_roster", "app"]

app = Noun(help="Workspaces: members of one or more organisations who review each other's jobs.")

Workspace = Annotated[str, typer.Argument(help="Workspace, by name or id.")]


def accept_roster(opened: Services, workspace_id: str, member: MemberEntry, signer: Signer) -> WorkspaceView:
    """Sign the roster that waits; when it comes into force the brokers are told.

    Raises:
        ConflictError: No roster waits for this member.
    """
    view = opened.workspaces.show(workspace_id, actor=member.id)
    if view.proposal is None:
        raise ConflictError("no member list waits for signatures", hint="see 'opaque-jobs workspace show'")
    roster = view.proposal.roster
    envelope = sign_acceptance(roster, roster.member(member.id), signer, now=datetime.now(UTC))
    view = opened.workspaces.accept(workspace_id=view.id, envelope=envelope)
    if view.proposal is None:
        push(opened.workspaces.broker_push(view.id, actor=member.id))
    return view


@app.command("create")
def create(
    *,
    name: Annotated[str, typer.Argument(help="1-50 letters, digits, spaces, '_' or '-'.")],
    member: Annotated[list[str], repeatable("--member", "Another member, by name. Repeatable.")],
    description: Annotated[str, typer.Option(help="Up to 150 characters.")] = "",
    run_policy: Annotated[RunPolicy, typer.Option(help="Who may run accepted jobs.")] = RunPolicy.AUTHOR,
    runner: Annotated[list[str], repeatable("--runner", "For named_members: who. Repeatable.")],
    acting: Acting = None,
) -> None:
    """Propose a workspace. It becomes active when every member has accepted it.

    Example: opaque-jobs workspace create "Tumour study" --member bob --member carol --as alice
    """
    with services() as opened:
        actor = acting_member(opened, acting)
        proposal = opened.workspaces.create(
            actor=actor.id,
            name=name,
            description=description,
            member_ids=[opened.workspaces.member_for_login(each).id for each in member],
            run_policy=run_policy,
            runners=[opened.workspaces.member_for_login(each).id for each in runner],
        )
        view = opened.workspaces.show(proposal.workspace_id, actor=actor.id)
    print_record(workspace_document(view), as_json=common().json, title="proposed; each member accepts it next")


@app.command("accept")
def accept(*, workspace: Workspace, acting: Acting = None, passphrase_file: PassphraseFile = None) -> None:
    """Accept the member list that waits, with your signature.

    Your own first acceptance and everybody's after a change of members: who is in it, with which keys, is what you sign.
    """
    with services() as opened:
        actor = acting_member(opened, acting)
        view = opened.workspaces.show(workspace, actor=actor.id)
        signer = open_member_key(opened.context.settings, actor, passphrase_file)
        view = accept_roster(opened, view.id, actor, signer)
    print_record(workspace_document(view), as_json=common().json, title="accepted")


@app.command("change")
def change(
    *,
    workspace: Workspace,
    member: Annotated[
        list[str] | None, typer.Option("--member", help="The whole new member list, one by one. Repeatable.")
    ] = None,
    run_policy: Annotated[RunPolicy | None, typer.Option(help="Who may run accepted jobs.")] = None,
    runner: Annotated[list[str] | None, typer.Option("--runner", help="For named_members: who. Repeatable.")] = None,
    acting: Acting = None,
) -> None:
    """Propose another member list or run policy: a new epoch, in which all jobs need a new review."""
    with services() as opened:
        actor = acting_member(opened, acting)
        known = opened.workspaces
        proposal = known.propose_change(
            actor=actor.id,
            workspace_id=known.show(workspace, actor=actor.id).id,
            member_ids=[known.member_for_login(each).id for each in member] if member else None,
            run_policy=run_policy,
            runners=[known.member_for_login(each).id for each in runner] if runner else None,
        )
        view = known.show(proposal.workspace_id, actor=actor.id)
    print_record(workspace_document(view), as_json=common().json, title="proposed; each member accepts it next")


@app.command("cancel")
def cancel(*, workspace: Workspace, acting: Acting = None) -> None:
    """Take back the member list that waits: yours, or one that names you. The list in force, if any, stays.

    A workspace that is pending is over with it, and its name is free again.
    """
    with services() as opened:
        actor = acting_member(opened, acting)
        view = opened.workspaces.cancel(opened.workspaces.show(workspace, actor=actor.id).id, actor=actor.id)
    print_record(workspace_document(view), as_json=common().json, title="taken back")


@app.command("show")
def show(*, workspace: Workspace, acting: Acting = None) -> None:
    """Show a workspace: members, epoch, and who has yet to accept."""
    with services() as opened:
        actor = acting_member(opened, acting)
        view = opened.workspaces.show(workspace, actor=actor.id)
    print_record(workspace_document(view), as_json=common().json)


@app.command("list")
def list_(
    *, archived: Annotated[bool, typer.Option("--archived", help="Archived ones too.")] = False, acting: Acting = None
) -> None:
    """List your workspaces."""
    with services() as opened:
        actor = acting_member(opened, acting)
        rows = [workspace_document(view) for view in opened.workspaces.list(actor=actor.id, archived=archived)]
    print_rows(
        rows, ["name", "status", "epoch", "members", "waiting_for", "id"], as_json=common().json, empty="no workspaces yet"
    )


@app.command("tell-brokers")
def tell_brokers(*, workspace: Workspace, acting: Acting = None) -> None:
    """Send the member list in force to every member organisation's broker again (after one was unreachable)."""
    with services() as opened:
        actor = acting_member(opened, acting)
        push(opened.workspaces.broker_push(opened.workspaces.show(workspace, actor=actor.id).id, actor=actor.id))
    stderr().print("every broker knows the member list")


@app.command("archive")
def archive(*, workspace: Workspace, acting: Acting = None) -> None:
    """Archive a workspace: nothing in it may run any more."""
    with services() as opened:
        actor = acting_member(opened, acting)
        view = opened.workspaces.archive(opened.workspaces.show(workspace, actor=actor.id).id, actor=actor.id)
    print_record(workspace_document(view), as_json=common().json, title="archived")


@app.command("unarchive")
def unarchive(*, workspace: Workspace, acting: Acting = None) -> None:
    """Make an archived workspace active again."""
    with services() as opened:
        actor = acting_member(opened, acting)
        view = opened.workspaces.unarchive(opened.workspaces.show(workspace, actor=actor.id).id, actor=actor.id)
    print_record(workspace_document(view), as_json=common().json, title="active again")
