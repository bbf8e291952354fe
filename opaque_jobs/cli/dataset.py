"""`opaque-jobs dataset`: encrypted before they leave their owner's machine, shared into workspaces."""

from pathlib import Path
from typing import Annotated

import typer

from opaque_jobs.cli import dataset_policy, forgetting
from opaque_jobs.cli.command import Noun, common, repeatable
from opaque_jobs.cli.dataset_policy import column_types, say_released
from opaque_jobs.cli.displaying import confirming
from opaque_jobs.cli.documents import dataset_document, reader_document
from opaque_jobs.cli.output import print_record, print_rows, stderr
from opaque_jobs.cli.passphrase import PassphraseFile
from opaque_jobs.cli.progress import counting
from opaque_jobs.cli.session import Acting, acting_member, acting_session, member_key, services
from opaque_jobs.client.finding import find_dataset, find_workspace
from opaque_jobs.client.kept_policies import kept_policy
from opaque_jobs.client.policies import Wanted
from opaque_jobs.client.publishing import attach_made_test_data, publish_dataset, share_dataset, unshare_dataset
from opaque_jobs.client.session import listed
from opaque_jobs.client.signed_names import named_dataset, named_workspace
from opaque_jobs.data.dataset_files import verify_files
from opaque_jobs.domain.dataset import TestDataKind
from opaque_jobs.domain.document import to_json
from opaque_jobs.errors import InvalidInputError
from opaque_jobs.standalone.local_session import local_session

__all__ = ["app"]

app = Noun(help="Data sets: encrypted by their owner, whose own key broker holds the keys.")
app.add_typer(dataset_policy.app, name="policy")

Dataset = Annotated[str, typer.Argument(help="Data set, by name or id.")]
Workspace = Annotated[str, typer.Argument(help="Workspace, by name or id.")]


@app.command("encrypt")
def encrypt(
    *,
    file: Annotated[Path, typer.Argument(help="CSV (with names in the first line) or Parquet.")],
    name: Annotated[str, typer.Option(help="Name in jobs' code: letters, digits, '_'.")],
    description: Annotated[str, typer.Option(help="Up to 150 characters.")] = "",
    column: Annotated[list[str], repeatable("--column", "Allow this column only. Repeatable.")],
    where: Annotated[list[str], repeatable("--where", "Jobs see only rows that fulfil this rule. Repeatable.")],
    column_type: Annotated[list[str], repeatable("--type", "COLUMN=TYPE, for CSV. Repeatable.")],
    delimiter: Annotated[str, typer.Option(help="Between a CSV file's fields.")] = "",
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Make the next version of a data set that exists, under the rules that it has.")
    ] = False,
    refreshed: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="With --refresh: which one, if nobody known here signed that name.")
    ] = None,
    yes: dataset_policy.Yes = False,
    acting: Acting = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Encrypt a file and register it. The key goes to your organisation's broker, which must be running.

    Only you and your broker know what --where allows. A refresh keeps the rules; what it changes must be confirmed.

    A rule compares columns with values: = != < <= > >=, IN (...), BETWEEN ... AND ..., LIKE '...', IS [NOT] NULL, joined by
    AND, OR, NOT and parentheses. Texts stand in single quotes, dates as 2024-01-31, times as 2024-01-31T12:00:00. A value
    must be one of its column's type; a time without an offset is UTC. A null fulfils nothing but IS NULL, and NaN nothing
    but !=.

    Example: opaque-jobs dataset encrypt visits.csv --name visits --where "age >= 18 AND ward IN ('A', 'B')" --as alice
    """
    if refreshed is not None and not refresh:
        raise InvalidInputError("--id names the data set that --refresh makes a version of", hint="give both, or neither")
    with acting_session(acting, passphrase_file) as (session, member):
        known = session.datasets.show(named_dataset(session, member, refreshed or name)) if refresh else None
        signer = member_key(session.settings, member, passphrase_file)
        with counting("encrypting", file.stat().st_size if file.is_file() else None) as advance:
            done = 0

            def progress(now: int, _total: int) -> None:
                nonlocal done
                advance(max(0, now - done))
                done = max(done, now)

            published = publish_dataset(
                session,
                member,
                signer,
                source=file,
                name=name,
                description=description,
                refresh_of=known,
                wanted=Wanted(columns=tuple(column), where=tuple(where)),
                types=column_types(column_type),
                delimiter=delimiter,
                progress=progress,
                confirm=confirming(yes),
            )
    print_record(dataset_document(published.view), as_json=common().json, title=f"'{name}' encrypted")
    say_released(published)


@app.command("test-data")
def make_test_data(
    *,
    dataset: Dataset,
    kind: Annotated[TestDataKind, typer.Option(help="synthetic: like the real data; mock: from the schema only; none.")],
    source: Annotated[Path | None, typer.Option("--from", help="The plain file of the data set; mock does without.")] = None,
    rows: Annotated[int, typer.Option(min=0, help="How many rows.")] = 1000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same data.")] = 1,
    key: Annotated[list[str], repeatable("--key", "A column to join on. Repeatable.")],
    acting: Acting = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Make the data that stands in for a data set in tests, of released columns and rows only.

    Every member of its workspaces can read it: look at it first. Of the keys of two data sets, half are in both.
    """
    with acting_session(acting, passphrase_file) as (session, member):
        found = find_dataset(session, dataset)
        signer = member_key(session.settings, member, passphrase_file)
        view = attach_made_test_data(session, member, signer, found, kind=kind, source=source, rows=rows, seed=seed, keys=key)
    print_record(dataset_document(view), as_json=common().json, title="test data attached")


@app.command("jobs")
def jobs(*, dataset: Dataset, acting: Acting = None) -> None:
    """List the jobs, accepted or under review, that read a data set of yours, and which of its columns."""
    with acting_session(acting) as (session, _):
        found = find_dataset(session, dataset)
        readers = session.datasets.readers(found.id)
    rows = [reader_document(each) for each in readers]
    columns = ["job", "status", "columns", "version", "on_refresh", "workspace_id", "author_id", "id"]
    print_rows(rows, columns, as_json=common().json, empty="no job under review or accepted reads it")


@app.command("share")
def share(*, dataset: Dataset, workspace: Workspace, acting: Acting = None, passphrase_file: PassphraseFile = None) -> None:
    """Share a data set into a workspace: jobs that all its members approve may then read it."""
    with acting_session(acting, passphrase_file) as (session, member):
        found, where = (
            named_dataset(session, member, dataset),
            named_workspace(session, member, workspace),
        )
        signer = member_key(session.settings, member, passphrase_file)
        view = share_dataset(session, member, signer, dataset_id=found, workspace_id=where)
    print_record(dataset_document(view), as_json=common().json, title="shared")


@app.command("unshare")
def unshare(*, dataset: Dataset, workspace: Workspace, acting: Acting = None, passphrase_file: PassphraseFile = None) -> None:
    """Take a data set back from a workspace: new, running and waiting jobs stop at once."""
    with acting_session(acting, passphrase_file, own=True) as (session, member):
        found, where = (
            named_dataset(session, member, dataset),
            named_workspace(session, member, workspace),
        )
        signer = member_key(session.settings, member, passphrase_file)
        closed = unshare_dataset(session, member, signer, dataset_id=found, workspace_id=where)
    print_record({"dataset_id": found, "workspace_id": where, "closed_runs": list(closed)}, as_json=common().json)


@app.command("list")
def list_(
    *, workspace: Annotated[str | None, typer.Option(help="Those shared into this workspace.")] = None, acting: Acting = None
) -> None:
    """List your organisation's data sets, or those shared into a workspace."""
    with acting_session(acting) as (session, _):
        where = find_workspace(session, workspace).id if workspace else None
        owners = {each.entry.id: each.entry.name for each in listed(session.people.organisations)}
        rows = [
            {**dataset_document(view), "owner": owners.get(view.organisation_id, view.organisation_id)}
            for view in listed(session.datasets.list, workspace_id=where)
        ]
    empty = (
        "no data set is shared into this workspace yet: an owner shares with 'opaque-jobs dataset share DATASET WORKSPACE'"
        if where
        else "no data sets yet: make one with 'opaque-jobs dataset encrypt FILE --name NAME'"
    )
    columns = ["name", "owner", "version", "rows", "test_data", "source", "id"]
    print_rows(rows, columns, as_json=common().json, empty=empty)


@app.command("show")
def show(*, dataset: Dataset, acting: Acting = None) -> None:
    """Show a data set: columns, types, version. To its owner: whether what is released of it is a rule that is kept here."""
    with acting_session(acting) as (session, member):
        view = find_dataset(session, dataset)
        document = dataset_document(view)
        if view.organisation_id == member.organisation_id:
            commitment = view.versions[-1].manifest.policy_commitment
            own = kept_policy(session.settings, member.organisation_id, view.id, commitment)
            document["policy"] = None if own is None else to_json(own)
    print_record(document, as_json=common().json)
    if "policy" in document and document["policy"] is None:
        stderr().print("[yellow]the commitment is to no rule that is kept here[/]: was it encrypted from another home?")


@app.command("verify")
def verify(*, dataset: Dataset, acting: Acting = None) -> None:
    """Check every file of a data set's current version against its signed manifest."""
    with acting_session(acting) as (session, _):
        found = find_dataset(session, dataset)
        current = found.versions[-1]
        with (
            session.files.dataset_files(found.id, current) as folder,
            counting("verifying", sum(part.size_bytes for part in current.manifest.parts)) as advance,
        ):
            done = 0

            def progress(now: int, _total: int) -> None:
                nonlocal done
                advance(now - done)
                done = now

            verify_files(current.manifest, folder, progress=progress)
    stderr().print("every file is the one that its owner signed")


@app.command("delete")
def delete(
    *,
    dataset: Dataset,
    forget_keys: Annotated[
        bool, typer.Option("--forget-keys", help="Destroy its keys at your broker too, for good, as 'broker forget' does.")
    ] = False,
    yes: dataset_policy.Yes = False,
    acting: Acting = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Forget a data set that is shared nowhere and that no job has used; its keys stay with your broker unless you say so."""
    with services() as opened:
        member = acting_member(opened, acting)
        session = local_session(opened, member)
        dataset_id = named_dataset(session, member, dataset) if forget_keys else find_dataset(session, dataset).id
        if forget_keys:
            opened.datasets.check_unused(actor=member.id, dataset_id=dataset_id)
            confirming(yes)([f"All keys of data set {dataset_id} are destroyed for good: nobody can decrypt its files any more."])
            forgetting.forget_keys(opened, member, dataset_id, passphrase_file)
        opened.datasets.delete(actor=member.id, dataset_id=dataset_id)
    print_record({"dataset_id": dataset_id, "deleted": True, "keys_forgotten": forget_keys}, as_json=common().json)
