"""`opaque-jobs workspace`: who works together, agreed by everybody's signature."""

from collections.abc import Sequence
from typing import Annotated, Final

import typer

from opaque_jobs.cli.command import Noun, common, repeatable
from opaque_jobs.cli.displaying import digest_agreed, displayed, shown_list
from opaque_jobs.cli.documents import workspace_document
from opaque_jobs.cli.output import escape, print_json, print_record, print_rows, stderr, stdout
from opaque_jobs.cli.passphrase import PassphraseFile
from opaque_jobs.cli.session import Acting, acting_session, member_key
from opaque_jobs.client.finding import find_member, find_workspace
from opaque_jobs.client.rosters import accept_roster, changed_keys, take_back_roster, waiting
from opaque_jobs.client.session import Session, listed
from opaque_jobs.client.showing import Shown
from opaque_jobs.client.signed_names import named_workspace, waiting_workspace
from opaque_jobs.client.withdrawals import tell_withdrawals
from opaque_jobs.domain.approval_rule import ApprovalGroup
from opaque_jobs.domain.workspace import MemberEntry, RunPolicy
from opaque_jobs.errors import InvalidInputError
from opaque_jobs.protocol.views import WorkspaceView

__all__ = ["app"]

app = Noun(help="Workspaces: members of one or more organisations who review each other's jobs.")

Workspace = Annotated[str, typer.Argument(help="Workspace, by name or id.")]

_COMPARED: Final = frozenset({"members", "organisations", "keys", "changed_keys", "waiting_for"})
APPROVAL_GROUP_HELP: Final = (
    "NAME:HOW_MANY:member,member. Repeatable. A job needs that many of each group, its author, and one of each data owner; "
    "without groups it needs everybody."
)


def _groups(session: Session, texts: Sequence[str]) -> tuple[ApprovalGroup, ...]:
    return tuple(_group(session, text) for text in texts)


def _group(session: Session, text: str) -> ApprovalGroup:
    name, _, rest = text.partition(":")
    threshold, _, people = rest.partition(":")
    if not (threshold.isascii() and threshold.isdigit() and people):
        raise InvalidInputError("an approval group is not well formed", hint="write it as NAME:HOW_MANY:member,member")
    ids = [find_member(session, each.strip()).id for each in people.split(",")]
    return ApprovalGroup(name=name, threshold=int(threshold), member_ids=tuple(sorted(ids)))


def _display(session: Session, actor: MemberEntry, view: WorkspaceView, *, title: str = "") -> None:
    """Print a workspace, and remember that this member saw the list that waits for signatures, if one does."""
    _print(view, title=title)
    if view.proposal is not None:
        displayed(session.settings, actor, shown_list(view.proposal.roster))


def _print(view: WorkspaceView, *, title: str = "") -> None:
    """Print a workspace; for people who compare it by telephone, one member and one key a line."""
    document = workspace_document(view)
    if common().json:
        print_json(document)
        return
    proposed = document.pop("proposed")
    print_record(document, as_json=False, title=title, listed=_COMPARED)
    if proposed:
        stdout().print()
        print_record(proposed, as_json=False, title="proposed, to take the place of the member list in force", listed=_COMPARED)


@app.command("create")
def create(
    *,
    name: Annotated[str, typer.Argument(help="1-50 letters, digits, spaces, '_' or '-'.")],
    member: Annotated[list[str], repeatable("--member", "Another member, by name. Repeatable.")],
    description: Annotated[str, typer.Option(help="Up to 150 characters.")] = "",
    run_policy: Annotated[RunPolicy, typer.Option(help="Who may run accepted jobs.")] = RunPolicy.AUTHOR,
    runner: Annotated[list[str], repeatable("--runner", "For named_members: who. Repeatable.")],
    approval_group: Annotated[list[str], repeatable("--approval-group", APPROVAL_GROUP_HELP)],
    acting: Acting = None,
) -> None:
    """Propose a workspace. It becomes active when every member has accepted it.

    Example: opaque-jobs workspace create "Tumour study" --member bob --member carol --as alice
    """
    with acting_session(acting) as (session, actor):
        if bool(runner) != (run_policy is RunPolicy.NAMED_MEMBERS):
            raise InvalidInputError(
                "runners are named with the run policy named_members, and only then",
                hint="give '--run-policy named_members' and '--runner MEMBER' together",
            )
        proposal = session.workspaces.create(
            name=name,
            description=description,
            member_ids=tuple(find_member(session, each).id for each in member),
            run_policy=run_policy,
            runners=tuple(find_member(session, each).id for each in runner),
            approval_groups=_groups(session, approval_group),
        )
        view = session.workspaces.show(proposal.workspace_id)
        _display(session, actor, view, title="proposed; each member accepts it next")


@app.command("accept")
def accept(
    *,
    workspace: Workspace,
    digest: Annotated[
        str | None,
        typer.Option(
            "--digest", help="Of the list that you mean, as 'workspace show' printed it; without, what that showed last."
        ),
    ] = None,
    acting: Acting = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Accept the member list that waits, with your signature, as 'workspace show' showed it to you.

    What you were not shown is shown now, and you are asked; with --json or without a terminal, its --digest is demanded.

    Your own first acceptance and everybody's after a change: who is in it, with which keys, who may run jobs and whose approvals
    they need is what you sign. Look at it first with 'opaque-jobs workspace show', and compare the digest and the key ids that
    it prints with the other members by another way, such as the telephone: of a first list, nothing but your own organisation's
    keys is compared here. Keys that changed are accepted only if the key before signed for them, or the organisation; both are
    shown.
    """
    with acting_session(acting, passphrase_file) as (session, actor):
        view = session.workspaces.show(waiting_workspace(session, actor, workspace))
        changed = [f"{each.name}: {each.use}, by {each.authority}" for each in changed_keys(session, view, actor)]
        settings, roster, document = session.settings, waiting(view), shown_list(waiting(view))

        def show_it() -> Shown:
            _print(view)
            return document

        agreed = digest_agreed(settings, actor, document, asked=workspace, typed=digest, show=show_it)
        signer = member_key(settings, roster.member(actor.id), passphrase_file)
        view = accept_roster(session, view.id, actor, signer, expected_digest=agreed, on_note=_note)
    print_record({**workspace_document(view), "changed_keys": changed}, as_json=common().json, title="accepted")


def _note(text: str) -> None:
    stderr().print(escape(text))


@app.command("change")
def change(
    *,
    workspace: Workspace,
    member: Annotated[
        list[str] | None, typer.Option("--member", help="The whole new member list, one by one. Repeatable.")
    ] = None,
    run_policy: Annotated[RunPolicy | None, typer.Option(help="Who may run accepted jobs.")] = None,
    runner: Annotated[list[str] | None, typer.Option("--runner", help="For named_members: who. Repeatable.")] = None,
    approval_group: Annotated[list[str] | None, typer.Option("--approval-group", help=APPROVAL_GROUP_HELP)] = None,
    unanimous: Annotated[bool, typer.Option("--unanimous", help="No groups any more: every member must approve.")] = False,
    acting: Acting = None,
) -> None:
    """Propose another member list, run policy or approval rule: a new epoch, in which all jobs need a new review."""
    if unanimous and approval_group:
        raise InvalidInputError("everybody or groups, not both", hint="give one of --unanimous and --approval-group")
    with acting_session(acting) as (session, actor):
        known = session.workspaces
        proposal = known.propose_change(
            workspace_id=find_workspace(session, workspace).id,
            member_ids=tuple(find_member(session, each).id for each in member) if member else None,
            run_policy=run_policy,
            runners=tuple(find_member(session, each).id for each in runner) if runner else None,
            approval_groups=_groups(session, approval_group or ()) if unanimous or approval_group else None,
        )
        view = known.show(proposal.workspace_id)
        _display(session, actor, view, title="proposed; each member accepts it next")


@app.command("cancel")
def cancel(*, workspace: Workspace, acting: Acting = None, passphrase_file: PassphraseFile = None) -> None:
    """Take back the member list that waits: yours, or one that names you. The list in force, if any, stays.

    A workspace that is pending is over with it, and its name is free again. If you signed the list, your organisation's broker is
    told never to believe it, so that nobody can complete it behind your back; 'workspace tell-brokers' tells one that was away.
    """
    with acting_session(acting, passphrase_file, own=True) as (session, actor):
        settings = session.settings
        where = waiting_workspace(session, actor, workspace)
        view, never = take_back_roster(session, where, actor, lambda: member_key(settings, actor, passphrase_file))
    print_record({**workspace_document(view), "never_believed": never}, as_json=common().json, title="taken back")


@app.command("show")
def show(*, workspace: Workspace, acting: Acting = None) -> None:
    """Show a workspace: members, epoch, who has yet to accept; compare digest and key ids with the others before accepting."""
    with acting_session(acting) as (session, actor):
        _display(session, actor, find_workspace(session, workspace))


@app.command("list")
def list_(
    *, archived: Annotated[bool, typer.Option("--archived", help="Archived ones too.")] = False, acting: Acting = None
) -> None:
    """List your workspaces."""
    with acting_session(acting) as (session, _):
        rows = [workspace_document(view) for view in listed(session.workspaces.list, archived=archived)]
    print_rows(
        rows,
        ["name", "status", "epoch", "members", "waiting_for", "id"],
        as_json=common().json,
        empty="no workspaces yet: propose one with 'opaque-jobs workspace create NAME --member MEMBER'",
    )


@app.command("tell-brokers")
def tell_brokers(*, workspace: Workspace, acting: Acting = None) -> None:
    """Tell every member organisation's broker again what it must know, after one was away: member list and withdrawals."""
    with acting_session(acting, own=True) as (session, actor):
        tell_withdrawals(session, actor, named_workspace(session, actor, workspace))
    stderr().print("every broker knows the member list and the withdrawals")


@app.command("archive")
def archive(*, workspace: Workspace, acting: Acting = None) -> None:
    """Archive a workspace: nothing in it may run any more."""
    with acting_session(acting) as (session, _):
        view = session.workspaces.archive(find_workspace(session, workspace).id)
    _print(view, title="archived")


@app.command("unarchive")
def unarchive(*, workspace: Workspace, acting: Acting = None) -> None:
    """Make an archived workspace active again."""
    with acting_session(acting) as (session, _):
        view = session.workspaces.unarchive(find_workspace(session, workspace).id)
    _print(view, title="active again")
