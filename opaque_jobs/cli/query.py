"""`opaque-jobs query`: queries that you keep for yourself, by workspace."""

from pathlib import Path
from typing import Annotated, Any

import typer

from opaque_jobs.cli.command import Noun, common
from opaque_jobs.cli.documents import moment
from opaque_jobs.cli.drafting import read_code
from opaque_jobs.cli.output import print_code, print_json, print_record, print_rows
from opaque_jobs.cli.session import Acting, acting_session
from opaque_jobs.client.finding import find_workspace
from opaque_jobs.client.session import listed
from opaque_jobs.errors import InvalidInputError
from opaque_jobs.protocol.views import PinnedQueryView

__all__ = ["app"]

app = Noun(help="Pinned queries: pieces of code that you keep for yourself in a workspace, to use again.")

Workspace = Annotated[str, typer.Argument(help="Workspace, by name or id.")]
Name = Annotated[str, typer.Argument(help="Name of the query: 1-50 letters, digits, spaces, '_' or '-'.")]


def _document(view: PinnedQueryView) -> dict[str, Any]:
    return {
        "name": view.name,
        "workspace_id": view.workspace_id,
        "language": view.code.language.value,
        "characters": len(view.code.text),
        "pinned_at": moment(view.pinned_at),
    }


@app.command("pin")
def pin(
    *,
    workspace: Workspace,
    name: Name,
    sql: Annotated[Path | None, typer.Option(help="File with SQL.")] = None,
    python: Annotated[Path | None, typer.Option(help="File with Python.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="In the place of the one that has this name.")] = False,
    acting: Acting = None,
) -> None:
    """Keep a query. Nobody else sees it; use it with 'opaque-jobs job create --pinned NAME'.

    Example: opaque-jobs query pin "Tumour study" rates --sql rates.sql --as alice
    """
    code = read_code(sql=sql, python=python)
    if code is None:
        raise InvalidInputError("there is nothing to pin", hint="give a file with --sql or --python")
    with acting_session(acting) as (session, _):
        where = find_workspace(session, workspace).id
        view = session.queries.pin(workspace_id=where, name=name, code=code, replace=replace)
    print_record(_document(view), as_json=common().json, title="pinned")


@app.command("list")
def list_(*, workspace: Workspace, acting: Acting = None) -> None:
    """List your pinned queries in a workspace."""
    with acting_session(acting) as (session, _):
        where = find_workspace(session, workspace).id
        rows = [_document(view) for view in listed(session.queries.list, workspace_id=where)]
    print_rows(
        rows,
        ["name", "language", "characters", "pinned_at"],
        as_json=common().json,
        empty="you have pinned no query here: keep one with 'opaque-jobs query pin WORKSPACE NAME --sql FILE'",
    )


@app.command("show")
def show(*, workspace: Workspace, name: Name, acting: Acting = None) -> None:
    """Show one of your pinned queries."""
    with acting_session(acting) as (session, _):
        where = find_workspace(session, workspace).id
        view = session.queries.show(workspace_id=where, name=name)
    if common().json:
        print_json({**_document(view), "text": view.code.text})
        return
    print_record(_document(view), as_json=False)
    print_code(view.code.text, view.code.language.value)


@app.command("unpin")
def unpin(*, workspace: Workspace, name: Name, acting: Acting = None) -> None:
    """Remove one of your pinned queries."""
    with acting_session(acting) as (session, _):
        where = find_workspace(session, workspace).id
        session.queries.unpin(workspace_id=where, name=name)
    print_record({"name": name, "workspace_id": where, "unpinned": True}, as_json=common().json)
