"""The owner's side of a data set: encrypt, sign, hand the key to the own broker, register, share.

The key exists in this process only, until the broker has it. If a step fails, what was written is removed.
"""

import secrets
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from opaque_jobs.broker.client import BrokerClient
from opaque_jobs.broker.vetoes import SHARING, sharing_subject
from opaque_jobs.cli.brokers import check_answers, push
from opaque_jobs.cli.own_organisation import compared_organisation, pinned_organisation
from opaque_jobs.cli.own_policies import keep_policy, salted_policy
from opaque_jobs.cli.signed_list import list_for_brokers
from opaque_jobs.crypto.consent import check_own_key, sign_manifest
from opaque_jobs.crypto.custody import sign_deposit, sign_sharing
from opaque_jobs.crypto.keys import Signer
from opaque_jobs.data.dataset_files import encrypt_file
from opaque_jobs.data.sources import Progress, column_names, open_source
from opaque_jobs.data.test_data import mock, synthetic, write_test_data
from opaque_jobs.domain.custody import Sharing
from opaque_jobs.domain.dataset import Column, ReleasePolicy, RowCondition, SaltedPolicy, Source, TestDataKind
from opaque_jobs.domain.ids import check_identifier, check_text, new_id
from opaque_jobs.domain.workspace import MemberEntry, Roster, parse_roster
from opaque_jobs.errors import ConflictError, InvalidInputError
from opaque_jobs.protocol.views import DatasetView
from opaque_jobs.services import Services

__all__ = ["attach_made_test_data", "publish_dataset", "share_dataset", "unshare_dataset"]


def publish_dataset(
    opened: Services,
    member: MemberEntry,
    signer: Signer,
    *,
    source: Path,
    name: str,
    description: str = "",
    refresh_of: DatasetView | None = None,
    columns: Sequence[str] = (),
    row_conditions: Sequence[RowCondition] = (),
    types: Mapping[str, str] | None = None,
    delimiter: str = "",
    progress: Progress = lambda _done, _total: None,
) -> DatasetView:
    """Encrypt a file and register it as a data set, or as the next version of one.

    Args:
        opened: The services.
        member: Who does it, for their organisation.
        signer: Their key.
        source: CSV or Parquet.
        name: Identifier by which jobs refer to it.
        description: Up to 150 characters.
        refresh_of: The data set that gets a next version.
        columns: Columns that jobs may use; all if empty.
        row_conditions: Only rows that fulfil all of them are seen by jobs.
        types: Column -> type, for CSV.
        delimiter: Between a CSV file's fields.
        progress: Told bytes done and in all.

    Raises:
        ConfigurationError: The organisation's broker does not answer, or the disk refuses. Nothing is kept.
        ConflictError: The organisation has a data set of this name.
        InvalidInputError: The file or the policy is not valid. Nothing is kept.
        NotFoundError: The member does not know their organisation's keys.
        TrustError: The services name other keys of the own organisation, or the broker does not know the member's key.
    """
    check_identifier(name, what="data set")
    check_text(description, what="data set's description", limit=150)
    if refresh_of is None and name in {known.name for known in opened.datasets.list(actor=member.id)}:
        raise ConflictError(
            f"your organisation has a data set '{name}' already",
            hint="choose another name, or give --refresh for its next version",
        )
    if refresh_of is not None and {refresh_of.name, refresh_of.versions[-1].manifest.name} != {name}:
        raise ConflictError(
            f"the data set to refresh has another name than '{name}'", hint="give its own with --name; nothing was encrypted"
        )
    _check_named(column_names(source, types=types or {}, delimiter=delimiter), columns, row_conditions)
    owner = compared_organisation(opened, member)
    check_answers(owner.broker_address, owner.entry.id)
    check_own_key(member, signer)  # opens the key: nobody is asked for its passphrase in the middle of long work
    dataset_id = refresh_of.id if refresh_of else new_id("ds")
    version = refresh_of.versions[-1].version + 1 if refresh_of else 1
    settings = opened.context.settings
    folder = settings.dataset_dir(dataset_id, version)

    def policy(found: Sequence[Column]) -> SaltedPolicy:
        return salted_policy(settings, owner.entry.id, dataset_id, _policy(found, columns, row_conditions))

    encrypted = encrypt_file(
        source,
        name=name,
        dataset_id=dataset_id,
        version=version,
        organisation_id=owner.entry.id,
        out_dir=folder,
        now=datetime.now(UTC),
        policy=policy,
        types=types,
        delimiter=delimiter,
        progress=progress,
    )
    try:
        envelope = sign_manifest(encrypted.manifest, signer)
        deposit = sign_deposit(
            encrypted.manifest,
            encrypted.root_key,
            encrypted.salted,
            signer,
            broker=owner.deposit_key,
            now=datetime.now(UTC),
        )
        with BrokerClient(owner.broker_address) as client:
            client.deposit(key=owner.broker_key, deposit=deposit, manifest=envelope)
        keep_policy(settings, owner.entry.id, dataset_id, encrypted.salted)
        if refresh_of:
            return opened.datasets.add_version(actor=member.id, envelope=envelope, storage=folder)
        return opened.datasets.register(
            actor=member.id, envelope=envelope, storage=folder, source=Source.LOCAL, description=description
        )
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _check_named(known: Sequence[str], columns: Sequence[str], conditions: Sequence[RowCondition]) -> None:
    given = {"--column": columns, "the row condition (--where)": [condition.column for condition in conditions]}
    for what, named in given.items():
        unknown = [name for name in named if name not in known]
        if unknown:
            raise InvalidInputError(
                f"{what} names '{unknown[0]}', a column that the file does not have", hint="columns: " + ", ".join(known[:30])
            )
    if len(set(columns)) != len(columns):
        raise InvalidInputError("--column names a column twice", hint="name each once")


def _policy(known: Sequence[Column], columns: Sequence[str], conditions: Sequence[RowCondition]) -> ReleasePolicy:
    names = tuple(columns) or tuple(column.name for column in known)
    types = {column.name: column.type for column in known}
    for condition in conditions:
        if not _comparable(condition.value, types[condition.column]):
            raise InvalidInputError(
                f"the row condition on '{condition.column}' compares it with a value of another type",
                hint=f"its type is {types[condition.column]}",
            )
    return ReleasePolicy(columns=names, row_conditions=tuple(conditions))


def _comparable(value: object, kind: str) -> bool:
    """Tell whether the engine can compare a column with a value."""
    if kind == "bool" or isinstance(value, bool):
        return kind == "bool" and isinstance(value, bool)
    numeric = kind.startswith(("int", "uint", "float", "double", "halffloat", "decimal"))
    return numeric is not isinstance(value, str)


def attach_made_test_data(
    opened: Services,
    member: MemberEntry,
    dataset: DatasetView,
    *,
    kind: TestDataKind,
    source: Path | None,
    rows: int,
    seed: int,
    keys: Sequence[str] = (),
) -> DatasetView:
    """Make test data and attach it.

    Args:
        opened: The services.
        member: Of the owner.
        dataset: The data set.
        kind: `synthetic` (like the plain source) or `mock` (from the schema alone).
        source: The plain file; its types alone are looked at for `mock`.
        rows: How many.
        seed: The same seed gives the same data.
        keys: Columns to join on.

    Raises:
        InvalidInputError: Too many rows, a key that is no column, or a file without the data set's columns.
        NotFoundError: There is no such file.
    """
    settings = opened.context.settings
    folder = settings.datasets_dir / dataset.id / f"test-{new_id('data')}"
    if kind is TestDataKind.NONE or source is None:
        return opened.datasets.attach_test_data(actor=member.id, dataset_id=dataset.id, kind=TestDataKind.NONE, path=None)

    def silent(_done: int, _total: int) -> None:
        """Report nothing."""

    plain = open_source(source, types={}, delimiter="", progress=silent)
    missing = [column.name for column in dataset.columns if column.name not in plain.schema.names]
    if missing:
        raise InvalidInputError(
            f"the file is not the one that '{dataset.name}' was made of: it has no column '{missing[0]}'",
            hint="give the plain file of its current version with --from",
        )
    if kind is TestDataKind.SYNTHETIC:
        table = synthetic(plain.batches(silent), plain.schema, rows=rows, seed=seed, keys=keys)
    else:
        table = mock(plain.schema, rows=rows, seed=seed, keys=keys)
    write_test_data(table, folder)
    try:
        return opened.datasets.attach_test_data(actor=member.id, dataset_id=dataset.id, kind=kind, path=folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _signed_sharing(
    member: MemberEntry, signer: Signer, *, dataset_id: str, roster: Roster, shared: bool, lifts: tuple[str, ...] = ()
) -> bytes:
    sharing = Sharing(
        v=1,
        dataset_id=dataset_id,
        organisation_id=member.organisation_id,
        workspace_id=roster.workspace_id,
        workspace_genesis=roster.genesis_digest,
        shared=shared,
        lifts=lifts,
        nonce=secrets.token_hex(16),
        issued_at=datetime.now(UTC).isoformat(),
    )
    return sign_sharing(sharing, signer)


def share_dataset(opened: Services, member: MemberEntry, signer: Signer, *, dataset_id: str, workspace_id: str) -> DatasetView:
    """Share a data set into a workspace: registered for all to see, and signed for the own broker.

    Raises:
        ConfigurationError: The own broker does not answer; nothing is shared.
        ConflictError: It is shared there already, or the workspace is not active.
        DeniedError: The member is not of the owner.
    """
    owner = compared_organisation(opened, member)
    check_answers(owner.broker_address, owner.entry.id)
    opened.datasets.check_sharing(actor=member.id, dataset_id=dataset_id, workspace_id=workspace_id, shared=True)
    known = list_for_brokers(opened, member, workspace_id)
    roster = parse_roster(known.roster)
    with BrokerClient(owner.broker_address) as client:
        lifts = client.standing(
            key=owner.broker_key,
            scope=SHARING,
            subject=sharing_subject(dataset_id, roster.workspace_id),
            basis=roster.genesis_digest,
        )
    statement = _signed_sharing(member, signer, dataset_id=dataset_id, roster=roster, shared=True, lifts=lifts)
    view = opened.datasets.share(actor=member.id, dataset_id=dataset_id, workspace_id=workspace_id, envelope=statement)
    try:
        push(known, owner, sharings=[statement], only=owner.entry.id)
    except BaseException:
        undo = _signed_sharing(member, signer, dataset_id=dataset_id, roster=roster, shared=False)
        opened.datasets.unshare(actor=member.id, dataset_id=dataset_id, workspace_id=workspace_id, envelope=undo)
        raise
    return view


def unshare_dataset(
    opened: Services, member: MemberEntry, signer: Signer, *, dataset_id: str, workspace_id: str
) -> tuple[str, ...]:
    """Take a data set back: the own broker first, so that no key leaves any more, then everywhere.

    The broker is told whatever the database says of the data set, and without a member list: neither can keep it from knowing.

    Returns:
        Ids of the runs that were closed by it.

    Raises:
        ConfigurationError: The own broker does not answer. It is taken back everywhere else.
        ConflictError: The database says that it is not shared there; the broker was told all the same.
        DeniedError: It says that the member is not of the owner; likewise.
    """
    owner = pinned_organisation(opened.context.settings, member)
    roster = parse_roster(list_for_brokers(opened, member, workspace_id).roster)
    statement = _signed_sharing(member, signer, dataset_id=dataset_id, roster=roster, shared=False)
    try:
        with BrokerClient(owner.broker_address) as client:
            client.push(key=owner.broker_key, roster=None, sharings=[statement])
    finally:
        closed = opened.datasets.unshare(actor=member.id, dataset_id=dataset_id, workspace_id=workspace_id, envelope=statement)
    return closed
