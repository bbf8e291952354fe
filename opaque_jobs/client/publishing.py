"""The owner's side of a data set: encrypt, sign, hand the key to the own broker, register, share.

The key exists in this process only, until the broker has it. If a step fails, what was written is removed.
"""

import hashlib
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from opaque_jobs.client.broker import BrokerClient
from opaque_jobs.client.kept_policies import keep_policy, salted_policy
from opaque_jobs.client.organisation import compared_organisation, pinned_organisation
from opaque_jobs.client.policies import AS_BEFORE, Confirm, Wanted, check_named, policy_words, read_policy, wanted_policy
from opaque_jobs.client.scratch import scratch
from opaque_jobs.client.session import Session, listed
from opaque_jobs.client.signed_lists import list_for_brokers
from opaque_jobs.client.telling import check_answers, push
from opaque_jobs.crypto.consent import check_own_key, sign_manifest
from opaque_jobs.crypto.custody import sign_deposit, sign_sharing
from opaque_jobs.crypto.keys import Signer
from opaque_jobs.crypto.parquet_schema import manifest_columns, storable_schema
from opaque_jobs.crypto.policies import sign_released
from opaque_jobs.data.dataset_files import encrypt_batches
from opaque_jobs.data.row_trial import Tally, counted, kept
from opaque_jobs.data.sources import Progress, Source, column_names, csv_types, open_source, parse_arrow_type
from opaque_jobs.data.test_data import mock, synthetic, write_test_data
from opaque_jobs.domain.custody import SHARING_SCOPE, Sharing, sharing_subject
from opaque_jobs.domain.dataset import ReleasePolicy, TestDataKind
from opaque_jobs.domain.dataset import Source as Origin
from opaque_jobs.domain.ids import check_identifier, check_text, new_id
from opaque_jobs.domain.workspace import MemberEntry, Roster, parse_roster
from opaque_jobs.errors import ConflictError, InvalidInputError, OpaqueJobsError
from opaque_jobs.protocol.views import DatasetView

__all__ = ["Published", "attach_made_test_data", "publish_dataset", "share_dataset", "unshare_dataset"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What publishing came to.

    Args:
        view: The data set.
        policy: What is released of it.
        rows: Rows that its row rule keeps, of rows in all.
    """

    view: DatasetView
    policy: ReleasePolicy
    rows: Tally


def publish_dataset(
    session: Session,
    member: MemberEntry,
    signer: Signer,
    *,
    source: Path,
    name: str,
    description: str = "",
    refresh_of: DatasetView | None = None,
    wanted: Wanted = AS_BEFORE,
    types: Mapping[str, str] | None = None,
    delimiter: str = "",
    progress: Progress = lambda _done, _total: None,
    confirm: Confirm = lambda _words: None,
) -> Published:
    """Encrypt a file and register it as a data set, or as the next version of one.

    Args:
        session: The member's.
        member: Who does it, for their organisation.
        signer: Their key.
        source: CSV or Parquet.
        name: Identifier by which jobs refer to it.
        description: Up to 150 characters.
        refresh_of: The data set that gets a next version.
        wanted: What may be released; what is not named stays as it was, and in a new data set is all.
        types: Column -> type, for CSV.
        delimiter: Between a CSV file's fields.
        progress: Told bytes done and in all.
        confirm: Asked before a refresh changes the owner's rules.

    Raises:
        ConfigurationError: The organisation's broker does not answer, or the disk refuses. Nothing is kept.
        ConflictError: The organisation has a data set of this name.
        InvalidInputError: The file or the policy is not valid. Nothing is kept.
        NotFoundError: The member does not know their organisation's keys.
        TrustError: The services name other keys of the own organisation, or the broker does not know the member's key.
    """
    check_identifier(name, what="data set")
    check_text(description, what="data set's description", limit=150)
    if refresh_of is None and name in {known.name for known in listed(session.datasets.list)}:
        raise ConflictError(
            f"your organisation has a data set '{name}' already",
            hint="choose another name, or give --refresh for its next version",
        )
    if refresh_of is not None and {refresh_of.name, refresh_of.versions[-1].manifest.name} != {name}:
        raise ConflictError(
            f"the data set to refresh has another name than '{name}'", hint="give its own with --name; nothing was encrypted"
        )
    known = column_names(source, types=types or {}, delimiter=delimiter)
    check_named(known, wanted)
    owner = compared_organisation(session, member)
    check_answers(owner.broker_address, owner.entry.id)
    check_own_key(member, signer)  # opens the key: nobody is asked for its passphrase in the middle of long work
    plain = open_source(source, types=types or {}, delimiter=delimiter, progress=progress)
    stored = manifest_columns(storable_schema(plain.schema))
    before = read_policy(owner, member, signer, refresh_of.id) if refresh_of else None
    policy = wanted_policy(stored, before.policy if before else None, wanted)
    if before is not None and policy_words(before.policy, policy):
        confirm(policy_words(before.policy, policy))
    dataset_id = refresh_of.id if refresh_of else new_id("ds")
    version = refresh_of.versions[-1].version + 1 if refresh_of else 1
    settings = session.settings
    if before is not None and before.policy == policy:
        salted = before  # the broker's, so that any member's refresh keeps the commitment, and jobs' approval with it
    else:
        salted = salted_policy(settings, owner.entry.id, dataset_id, policy)
    tally, size = Tally(), source.stat().st_size
    with scratch(settings.home, "encrypted") as own_folder:
        encrypted = encrypt_batches(
            counted(plain.batches(progress), policy.row_rule, tally),
            plain.schema,
            name=name,
            dataset_id=dataset_id,
            version=version,
            organisation_id=owner.entry.id,
            out_dir=own_folder / "parts",
            now=datetime.now(UTC),
            policy=lambda _columns: salted,
        )
        progress(size, size)
        envelope = sign_manifest(encrypted.manifest, signer)
        deposit = sign_deposit(
            encrypted.manifest,
            encrypted.root_key,
            salted,
            signer,
            broker=owner.deposit_key,
            now=datetime.now(UTC),
        )
        released = sign_released(
            policy.columns, signer, dataset_id=dataset_id, organisation_id=owner.entry.id, now=datetime.now(UTC)
        )
        with _uploaded(session, own_folder / "parts") as upload:
            with BrokerClient(owner.broker_address) as client:
                client.deposit(key=owner.broker_key, deposit=deposit, manifest=envelope)
            keep_policy(settings, owner.entry.id, dataset_id, salted)
            if refresh_of:
                view = session.datasets.add_version(refresh_of.id, upload_id=upload, envelope=envelope, released=released)
            else:
                view = session.datasets.register(
                    upload_id=upload, envelope=envelope, source=Origin.LOCAL, description=description, released=released
                )
    return Published(view=view, policy=policy, rows=tally)


@contextmanager
def _uploaded(session: Session, folder: Path) -> Iterator[str]:
    """Bring files to the coordinator, and take them back if what they are for fails."""
    upload = session.files.upload(folder)
    try:
        yield upload
    except BaseException:
        with suppress(OpaqueJobsError):
            session.uploads.drop(upload)
        raise


def attach_made_test_data(
    session: Session,
    member: MemberEntry,
    signer: Signer,
    dataset: DatasetView,
    *,
    kind: TestDataKind,
    source: Path | None,
    rows: int,
    seed: int,
    keys: Sequence[str] = (),
) -> DatasetView:
    """Make test data, of released columns of released rows only, and attach it.

    Args:
        session: The member's.
        member: Of the owner.
        signer: Their key: the own broker is asked what is released.
        dataset: The data set.
        kind: `synthetic` (like the plain source) or `mock` (from the schema alone).
        source: The plain file, for `synthetic`.
        rows: How many.
        seed: The same seed gives the same data.
        keys: Columns to join on.

    Raises:
        ConfigurationError: The organisation's broker does not answer.
        InvalidInputError: Too many rows, a key that is no released column, no file, or one without the data set's columns.
        NotFoundError: There is no such file.
    """
    if kind is TestDataKind.NONE:
        return session.datasets.attach_test_data(dataset.id, kind=kind)
    synthesise = kind is TestDataKind.SYNTHETIC
    if synthesise and source is None:
        raise InvalidInputError("synthetic test data is made from the plain file", hint="give --from FILE, or --kind mock")
    plain = None if source is None else _plain_source(dataset, source)
    policy = read_policy(compared_organisation(session, member), member, signer, dataset.id).policy
    own = int.from_bytes(hashlib.sha256(f"{seed}/{dataset.id}".encode()).digest()[:7])  # data sets share half of their keys
    table = _made(dataset, policy, plain, synthesise=synthesise, rows=rows, seed=own, keys=keys)
    with scratch(session.settings.home, "test-data") as own_folder:
        write_test_data(table, own_folder / "parts")
        with _uploaded(session, own_folder / "parts") as upload:
            return session.datasets.attach_test_data(dataset.id, kind=kind, upload_id=upload)


def _plain_source(dataset: DatasetView, source: Path) -> Source:
    """Open the plain file of a data set, with the types that the data set has.

    Raises:
        InvalidInputError: It is another file.
    """
    types = {column.name: column.type for column in dataset.columns}
    names = column_names(source, types={}, delimiter="")
    missing = [name for name in types if name not in names]
    if not missing:
        plain = open_source(source, types=csv_types(source, types), delimiter="", progress=_silent)
        found = {column.name: column.type for column in manifest_columns(storable_schema(plain.schema))}
        missing = [name for name, kind in types.items() if found[name] != kind]
    if missing:
        raise InvalidInputError(
            f"the file is not the one that '{dataset.name}' was made of: it has no column '{missing[0]}' of its type",
            hint="give the plain file of its current version with --from",
        )
    return plain


def _made(
    dataset: DatasetView,
    policy: ReleasePolicy,
    plain: Source | None,
    *,
    synthesise: bool,
    rows: int,
    seed: int,
    keys: Sequence[str],
) -> pa.Table:
    """Make data of the released columns, like the released rows or from types alone: nothing else of the file is looked at."""
    if not synthesise or plain is None:
        types = [(column.name, column.type) for column in dataset.columns if column.name in policy.columns]
        fields = [plain.schema.field(name) if plain else pa.field(name, parse_arrow_type(name, text)) for name, text in types]
        return mock(pa.schema(fields), rows=rows, seed=seed, keys=keys)
    released = [name for name in plain.schema.names if name in policy.columns]
    batches = (kept(batch, policy.row_rule).select(released) for batch in plain.batches(_silent))
    schema = pa.schema([plain.schema.field(name) for name in released])
    return synthetic(batches, schema, rows=rows, seed=seed, keys=keys)


def _silent(_done: int, _total: int) -> None:
    """Report nothing."""


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


def share_dataset(session: Session, member: MemberEntry, signer: Signer, *, dataset_id: str, workspace_id: str) -> DatasetView:
    """Share a data set into a workspace: registered for all to see, and signed for the own broker.

    Raises:
        ConfigurationError: The own broker does not answer; nothing is shared.
        ConflictError: It is shared there already, or the workspace is not active.
        DeniedError: The member is not of the owner.
    """
    owner = compared_organisation(session, member)
    check_answers(owner.broker_address, owner.entry.id)
    session.datasets.check_sharing(dataset_id=dataset_id, workspace_id=workspace_id, shared=True)
    known = list_for_brokers(session, member, workspace_id)
    roster = parse_roster(known.roster)
    with BrokerClient(owner.broker_address) as client:
        lifts = client.standing(
            key=owner.broker_key,
            scope=SHARING_SCOPE,
            subject=sharing_subject(dataset_id, roster.workspace_id),
            basis=roster.genesis_digest,
        )
    statement = _signed_sharing(member, signer, dataset_id=dataset_id, roster=roster, shared=True, lifts=lifts)
    view = session.datasets.share(dataset_id=dataset_id, workspace_id=workspace_id, envelope=statement)
    try:
        push(known, owner, sharings=[statement], only=owner.entry.id)
    except BaseException:
        undo = _signed_sharing(member, signer, dataset_id=dataset_id, roster=roster, shared=False)
        session.datasets.unshare(dataset_id=dataset_id, workspace_id=workspace_id, envelope=undo)
        raise
    return view


def unshare_dataset(
    session: Session, member: MemberEntry, signer: Signer, *, dataset_id: str, workspace_id: str
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
    owner = pinned_organisation(session.settings, member)
    roster = parse_roster(list_for_brokers(session, member, workspace_id).roster)
    statement = _signed_sharing(member, signer, dataset_id=dataset_id, roster=roster, shared=False)
    try:
        with BrokerClient(owner.broker_address) as client:
            client.push(key=owner.broker_key, roster=None, sharings=[statement])
    finally:
        closed = session.datasets.unshare(dataset_id=dataset_id, workspace_id=workspace_id, envelope=statement)
    return closed
