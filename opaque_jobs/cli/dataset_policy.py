"""`opaque-jobs dataset policy`: the owner's rules, read again and changed by name."""

from pathlib import Path
from typing import Annotated

import typer

from opaque_jobs.cli.command import Noun, common, repeatable
from opaque_jobs.cli.displaying import confirming
from opaque_jobs.cli.documents import dataset_document, reader_document
from opaque_jobs.cli.output import print_record, stderr
from opaque_jobs.cli.passphrase import PassphraseFile
from opaque_jobs.cli.session import Acting, acting_session, member_key
from opaque_jobs.client.organisation import compared_organisation
from opaque_jobs.client.policies import AS_BEFORE, Wanted, read_policy
from opaque_jobs.client.publishing import Published, publish_dataset
from opaque_jobs.client.signed_names import named_dataset
from opaque_jobs.data.row_rules import rule_text
from opaque_jobs.errors import InvalidInputError

__all__ = ["Yes", "app", "column_types", "say_released"]

app = Noun(help="Which columns and rows of a data set approved jobs may read; only its owner sees it.")

Dataset = Annotated[str, typer.Argument(help="Data set, by name or id.")]
Yes = Annotated[bool, typer.Option("--yes", help="Change the rules without asking.")]


@app.command("show")
def show_policy(*, dataset: Dataset, acting: Acting = None, passphrase_file: PassphraseFile = None) -> None:
    """Show which columns and rows of your data set approved jobs may read: your broker's own word, sealed to you."""
    with acting_session(acting, passphrase_file) as (session, member):
        found = session.datasets.show(named_dataset(session, member, dataset))
        signer = member_key(session.settings, member, passphrase_file)
        rules = read_policy(compared_organisation(session, member), member, signer, found.id).policy
        held = [column.name for column in found.columns if column.name not in rules.columns]
        readers = session.datasets.readers(found.id)
    shown = {
        "dataset_id": found.id,
        "released": list(rules.columns),
        "held_back": held,
        "where": rule_text(rules.row_rule),
        "jobs": [reader_document(each) for each in readers],
    }
    print_record(shown, as_json=common().json, title=f"what approved jobs may read of '{found.name}'")


@app.command("set")
def set_policy(
    *,
    dataset: Dataset,
    source: Annotated[Path, typer.Option("--from", help="The plain file, for a next version under the changed rules.")],
    column: Annotated[list[str], repeatable("--column", "Release these columns and no others. Repeatable.")],
    where: Annotated[list[str], repeatable("--where", "Release rows that fulfil this rule only. Repeatable.")],
    all_columns: Annotated[bool, typer.Option("--all-columns", help="Release all columns.")] = False,
    all_rows: Annotated[bool, typer.Option("--all-rows", help="Release all rows.")] = False,
    column_type: Annotated[list[str], repeatable("--type", "COLUMN=TYPE, for CSV. Repeatable.")],
    delimiter: Annotated[str, typer.Option(help="Between a CSV file's fields.")] = "",
    yes: Yes = False,
    acting: Acting = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Change which columns and rows of your data set jobs may read, of all its versions at once.

    What is not named stays. What changes is shown in words, and must be confirmed. Jobs that were approved under the rules before
    need a new review.

    Example: opaque-jobs dataset policy set visits --from visits.csv --where "age >= 21" --as alice
    """
    wanted = Wanted(columns=tuple(column), where=tuple(where), all_columns=all_columns, all_rows=all_rows)
    if wanted == AS_BEFORE:
        raise InvalidInputError("nothing is named that should change", hint="give --column, --where, --all-columns or --all-rows")
    with acting_session(acting, passphrase_file) as (session, member):
        found = session.datasets.show(named_dataset(session, member, dataset))
        published = publish_dataset(
            session,
            member,
            member_key(session.settings, member, passphrase_file),
            source=source,
            name=found.name,
            refresh_of=found,
            wanted=wanted,
            types=column_types(column_type),
            delimiter=delimiter,
            confirm=confirming(yes),
        )
    print_record(dataset_document(published.view), as_json=common().json, title="policy changed")
    say_released(published)


def column_types(pairs: list[str]) -> dict[str, str]:
    """Read COLUMN=TYPE options.

    Raises:
        InvalidInputError: One is not well formed.
    """
    split = [pair.rpartition("=") for pair in pairs]
    if not all(name and kind for name, _, kind in split):
        raise InvalidInputError("a column type is not well formed", hint="write it as COLUMN=TYPE")
    return {name: kind for name, _, kind in split}


def say_released(published: Published) -> None:
    """Say what is released of a version that was just made, and how many rows that is."""
    commitments = [each.manifest.policy_commitment for each in published.view.versions[-2:]]
    if len(set(commitments)) > 1:
        stderr().print(
            "[yellow]jobs that were approved under the rules before read nothing of this data set now[/]: they need a new review"
        )
    tally, columns = published.rows, ", ".join(published.policy.columns)
    if set(published.policy.columns) == {each.name for each in published.view.columns}:
        columns = "all columns"
    stderr().print(f"approved jobs may read of it: {columns}; {rule_text(published.policy.row_rule)}", markup=False)
    stderr().print(f"that is {tally.kept:,} of {tally.rows:,} rows", markup=False)
