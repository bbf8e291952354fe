"""Data sets: signed versions, where they are shared, and what stands in for them in tests."""

import base64
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from sqlalchemy.orm import Session

from opaque_jobs.crypto.consent import verify_manifest
from opaque_jobs.crypto.custody import verify_sharing
from opaque_jobs.crypto.keys import VerifyKey
from opaque_jobs.crypto.policies import claimed_released, verify_released
from opaque_jobs.crypto.release import verify_erasure
from opaque_jobs.domain.canonical import parse_json
from opaque_jobs.domain.dataset import Column, DatasetManifest, Source, TestDataKind
from opaque_jobs.domain.ids import check_text
from opaque_jobs.domain.job import parse_job_spec
from opaque_jobs.domain.lifecycle import JobStatus, RunEvent
from opaque_jobs.domain.log import EntryKind
from opaque_jobs.domain.workspace import MemberEntry
from opaque_jobs.errors import ConflictError, DeniedError, InvalidInputError, NotFoundError, TrustError
from opaque_jobs.protocol.views import DatasetVersionView, DatasetView, ReaderView
from opaque_jobs.services import log_book
from opaque_jobs.services.access import check_active, member_entry, member_workspace, roster_in_force
from opaque_jobs.services.closing import close_run
from opaque_jobs.services.context import Context, listed_files
from opaque_jobs.store import datasets as rows
from opaque_jobs.store import events, people
from opaque_jobs.store import jobs as job_rows
from opaque_jobs.store import log as log_rows
from opaque_jobs.store import runs as run_rows
from opaque_jobs.store.records import DatasetRecord, DatasetVersionRecord, ShareRecord
from opaque_jobs.store.words import CloseReason

__all__ = ["Datasets", "claimed_manifest", "released_of"]


class Datasets:
    """Use cases about data sets. The owner is the organisation: any of its members may act for it, nobody else."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def register(
        self, *, actor: str, envelope: bytes, storage: Path, source: Source, description: str, released: bytes | None = None
    ) -> DatasetView:
        """Register version 1 of a data set by its signed manifest.

        Args:
            actor: A member of the owner.
            envelope: `consent.sign_manifest` by a registered member of the owner.
            storage: Folder with the encrypted parts.
            source: Where the data came from.
            description: Up to 150 characters.
            released: `policies.sign_released` by the actor; None leaves open what the owner's broker releases.

        Raises:
            DeniedError: The actor is not of the owner.
            TrustError: The manifest's signature does not hold, or that of the released columns.
            InvalidInputError: A part is missing or has another size.
            ConflictError: The id is taken, the owner has one of this name, or it is not version 1.
        """
        check_text(description, what="data set's description", limit=150)
        now = self._context.now()
        with self._context.store.write() as session:
            manifest = self._verified(session, actor, envelope, storage)
            if manifest.dataset_version != 1:
                raise ConflictError("a new data set starts with version 1", hint="add later versions to the data set")
            rows.add_dataset(
                session,
                DatasetRecord(
                    id=manifest.dataset_id,
                    organisation_id=manifest.organisation_id,
                    name=manifest.name,
                    description=description,
                    source=source,
                    test_data_kind=TestDataKind.NONE,
                    test_data_path=None,
                    released=None,
                    created_at=now,
                ),
            )
            self._release(session, manifest.dataset_id, actor, released)
            self._add(session, manifest, envelope=envelope, storage=storage, actor=actor, now=now)
            return self._view(session, manifest.dataset_id, actor)

    def add_version(self, *, actor: str, envelope: bytes, storage: Path, released: bytes | None = None) -> DatasetView:
        """Register the next version (a refresh). Versions are immutable. Arguments as `register`.

        Raises:
            ConflictError: It is not the next version, or has another name or owner.
            DeniedError: The actor is not of the owner.
            TrustError: The manifest's signature does not hold, also for a workspace that it is shared into.
        """
        now = self._context.now()
        with self._context.store.write() as session:
            manifest = self._verified(session, actor, envelope, storage)
            record = rows.dataset(session, manifest.dataset_id)
            known = rows.versions(session, record.id)
            if (manifest.organisation_id, manifest.name) != (record.organisation_id, record.name):
                raise ConflictError("a version has another name or owner than its data set", hint="register it as a new data set")
            if manifest.dataset_version != known[-1].version + 1:
                raise ConflictError(
                    "this is not the next version of the data set", hint="encrypt it again", expected=known[-1].version + 1
                )
            for share in rows.shares(session, record.id):
                roster = roster_in_force(session, share.workspace_id)
                verify_manifest(envelope, roster.members if roster else ())
                self._log_version(session, share.workspace_id, manifest, now)
            self._release(session, record.id, actor, released)
            self._add(session, manifest, envelope=envelope, storage=storage, actor=actor, now=now)
            return self._view(session, record.id, actor)

    def set_released(self, *, actor: str, dataset_id: str, envelope: bytes) -> DatasetView:
        """Keep which columns jobs may read from now on, as the actor signed it.

        Trust: for authors, who are told early what they can ask for. What is released is the owner's broker's to decide.

        Raises:
            DeniedError: The actor is not of the owner.
            TrustError: The signature does not hold, or it is about something else.
        """
        with self._context.store.write() as session:
            self._owned(session, dataset_id, actor)
            self._release(session, dataset_id, actor, envelope)
            return self._view(session, dataset_id, actor)

    def readers(self, dataset_id: str, *, actor: str) -> list[ReaderView]:
        """Return the jobs under review or accepted that read a data set, for its owner.

        Raises:
            DeniedError: The actor is not of the owner.
        """
        with self._context.store.read() as session:
            self._owned(session, dataset_id, actor)
            found = []
            for revision in job_rows.revisions_of_dataset(session, dataset_id):
                if revision.status not in {JobStatus.UNDER_REVIEW, JobStatus.ACCEPTED}:
                    continue
                spec = parse_job_spec(revision.spec)
                found += [
                    ReaderView(
                        job_id=revision.job_id,
                        name=spec.name,
                        revision=revision.revision,
                        status=revision.status,
                        workspace_id=spec.workspace_id,
                        author_id=spec.author_id,
                        version=use.dataset_version,
                        on_refresh=spec.rerun_terms.on_refresh,
                        columns=use.columns,
                    )
                    for use in spec.datasets
                    if use.dataset_id == dataset_id
                ]
            return found

    def _release(self, session: Session, dataset_id: str, actor: str, envelope: bytes | None) -> None:
        if envelope is None:
            return
        member = member_entry(people.member(session, actor))
        keys = {member.key_id: VerifyKey.parse(member.public_key)}
        if verify_released(envelope, keys, organisation_id=member.organisation_id).dataset_id != dataset_id:
            raise TrustError("the released columns are of another data set", hint="sign them again")
        rows.set_released(session, dataset_id, envelope)

    def renew_signature(self, *, actor: str, envelope: bytes) -> DatasetView:
        """Replace the signature of a version after its signer's key has changed; the manifest itself stays the same.

        Raises:
            ConflictError: The manifest is not the one registered.
            DeniedError: The actor is not of the owner.
            TrustError: The signature does not hold.
        """
        with self._context.store.write() as session:
            signers = [member_entry(record) for record in people.list_members(session)]
            manifest = verify_manifest(envelope, signers)
            _check_owner(signers, actor, manifest.organisation_id)
            rows.set_envelope(session, manifest, envelope)
            events.append(
                session,
                noun="dataset",
                subject_id=manifest.dataset_id,
                event="renew-signature",
                actor=actor,
                now=self._context.now(),
                version=manifest.dataset_version,
            )
            return self._view(session, manifest.dataset_id, actor)

    def attach_test_data(self, *, actor: str, dataset_id: str, kind: TestDataKind, path: Path | None) -> DatasetView:
        """Attach the one test data set: a folder of plaintext Parquet (None for `TestDataKind.NONE`).

        Raises:
            DeniedError: The actor is not of the owner.
            InvalidInputError: The folder holds no Parquet file, or kind and folder contradict each other.
        """
        if (path is None) != (kind is TestDataKind.NONE) or (path is not None and not any(path.glob("*.parquet"))):
            raise InvalidInputError("the test data is missing", hint="give a folder with Parquet files, or the kind 'none'")
        with self._context.store.write() as session:
            self._owned(session, dataset_id, actor)
            rows.set_test_data(session, dataset_id, kind, None if path is None else self._context.stored_path(path))
            events.append(
                session,
                noun="dataset",
                subject_id=dataset_id,
                event="attach-test-data",
                actor=actor,
                now=self._context.now(),
                kind=kind.value,
            )
            return self._view(session, dataset_id, actor)

    def share(self, *, actor: str, dataset_id: str, workspace_id: str, envelope: bytes) -> DatasetView:
        """Share into a workspace of the actor.

        Args:
            actor: A member of the owner.
            dataset_id: The data set.
            workspace_id: The workspace.
            envelope: `custody.sign_sharing` by the actor: what the owner's broker believes, and the log keeps.

        Raises:
            DeniedError: The actor is not of the owner.
            NotFoundError: The actor is not a member of the workspace.
            ConflictError: It is shared already, or the workspace is not active.
            TrustError: The manifest is not signed by a member of the workspace's roster: brokers would refuse it; or the
                statement is not the actor's, or about something else.
        """
        now = self._context.now()
        with self._context.store.write() as session:
            self._check_sharing(session, actor=actor, dataset_id=dataset_id, workspace_id=workspace_id, shared=True)
            self._log_sharing(session, workspace_id, envelope, actor=actor, dataset_id=dataset_id, shared=True, now=now)
            newest = claimed_manifest(rows.versions(session, dataset_id)[-1].envelope)
            self._log_version(session, workspace_id, newest, now)
            rows.add_share(session, ShareRecord(dataset_id=dataset_id, workspace_id=workspace_id, shared_by=actor, shared_at=now))
            events.append(
                session, noun="dataset", subject_id=dataset_id, event="share", actor=actor, now=now, workspace_id=workspace_id
            )
            return self._view(session, dataset_id, actor)

    def check_sharing(self, *, actor: str, dataset_id: str, workspace_id: str, shared: bool) -> None:
        """Check, before anybody signs it, that `share` (or `unshare`) would be possible. Raises as they do."""
        with self._context.store.read() as session:
            self._check_sharing(session, actor=actor, dataset_id=dataset_id, workspace_id=workspace_id, shared=shared)

    def unshare(self, *, actor: str, dataset_id: str, workspace_id: str, envelope: bytes) -> tuple[str, ...]:
        """Take back: new, running and waiting jobs stop at once. Arguments as `share`.

        Returns:
            Ids of the runs that were closed by it.

        Raises:
            DeniedError: The actor is not of the owner.
            ConflictError: It is not shared there.
            TrustError: The statement is not the actor's, or about something else.
        """
        now = self._context.now()
        with self._context.store.write() as session:
            self._check_sharing(session, actor=actor, dataset_id=dataset_id, workspace_id=workspace_id, shared=False)
            self._log_sharing(session, workspace_id, envelope, actor=actor, dataset_id=dataset_id, shared=False, now=now)
            rows.remove_share(session, dataset_id, workspace_id)
            events.append(
                session, noun="dataset", subject_id=dataset_id, event="unshare", actor=actor, now=now, workspace_id=workspace_id
            )
            reading = job_rows.revisions_reading(session, dataset_id, workspace_id=workspace_id)
            stopped = [run for run in run_rows.runs_of_revisions(session, reading) if run.state in run_rows.OPEN_STATES]
            for run in stopped:
                close_run(
                    self._context, session, run, RunEvent.FAIL, actor=None, now=now, reason=CloseReason.GATE_DATASET_UNSHARED
                )
            return tuple(run.id for run in stopped)

    def record_erasure(self, *, actor: str, dataset_id: str, envelope: bytes) -> tuple[str, ...]:
        """Enter into the logs of the workspaces where a data set is or was shared that its keys are destroyed; once in each.

        Args:
            actor: A member of the owner.
            dataset_id: The data set.
            envelope: `sign_erasure` by the owner's broker.

        Returns:
            Ids of those workspaces.

        Raises:
            DeniedError: The actor is not of the owner.
            TrustError: The statement is not the owner's broker's, or about something else.
        """
        now = self._context.now()
        with self._context.store.write() as session:
            self._owned(session, dataset_id, actor)
            owner = people.organisation(session, people.member(session, actor).organisation_id)
            said = verify_erasure(envelope, VerifyKey.parse(owner.broker_signing_key), organisation_id=owner.id)
            if said.dataset_id != dataset_id:
                raise TrustError("an erasure is about another data set", hint="see 'opaque-jobs broker forget'")
            workspaces = tuple(log_rows.workspaces_with(session, EntryKind.SHARING, dataset_id))
            for workspace_id in workspaces:
                if not log_rows.entries_about(session, workspace_id, EntryKind.ERASURE, dataset_id):
                    log_book.append(
                        self._context,
                        session,
                        workspace_id,
                        EntryKind.ERASURE,
                        dataset_id,
                        now=now,
                        document=envelope,
                        organisation_id=owner.id,
                    )
            events.append(session, noun="dataset", subject_id=dataset_id, event="forget", actor=actor, now=now)
            return workspaces

    def check_unused(self, *, actor: str, dataset_id: str) -> None:
        """Check that a data set can be deleted. Raises as `delete`."""
        with self._context.store.read() as session:
            self._owned(session, dataset_id, actor)
            rows.check_unused(session, dataset_id)

    def delete(self, *, actor: str, dataset_id: str) -> None:
        """Forget a data set; only when it is shared nowhere. Files are the caller's to remove.

        Raises:
            ConflictError: It is still shared, or a job has used it.
            DeniedError: The actor is not of the owner.
        """
        with self._context.store.write() as session:
            self._owned(session, dataset_id, actor)
            rows.remove_dataset(session, dataset_id)
            events.append(session, noun="dataset", subject_id=dataset_id, event="delete", actor=actor, now=self._context.now())

    def list(self, *, actor: str, workspace_id: str | None = None) -> list[DatasetView]:
        """Give the actor's organisation's data sets, or those shared into a workspace of the actor.

        Raises:
            NotFoundError: The actor is not a member of the workspace.
        """
        with self._context.store.read() as session:
            if workspace_id is not None:
                member_workspace(session, workspace_id, actor)
                records = rows.shared_into(session, workspace_id)
            else:
                records = rows.of_organisation(session, people.member(session, actor).organisation_id)
            return [self._view(session, record.id, actor) for record in records]

    def show(self, dataset_id: str, *, actor: str) -> DatasetView:
        """Give one, to a member of the owner or of a workspace that it is shared into.

        Raises:
            NotFoundError: None, or the actor may not know of it.
        """
        with self._context.store.read() as session:
            return self._view(session, dataset_id, actor)

    def version_folder(self, dataset_id: str, version: int, *, actor: str) -> Path:
        """Return the folder of a version's encrypted files, for a member of its owner.

        Raises:
            DeniedError: The actor is of another organisation.
            NotFoundError: No such data set or version, or the actor may not know of it.
        """
        with self._context.store.read() as session:
            self._owned(session, dataset_id, actor)
            for each in rows.versions(session, dataset_id):
                if each.version == version:
                    return self._context.located_path(each.storage)
        raise NotFoundError("the data set has no such version", hint="see the data set's versions")

    def test_folder(self, dataset_id: str, *, actor: str) -> Path:
        """Return the folder of a data set's test files, for whoever may know of it.

        Raises:
            NotFoundError: There is no test data, or the actor may not know of the data set.
        """
        with self._context.store.read() as session:
            self._view(session, dataset_id, actor)
            path = rows.dataset(session, dataset_id).test_data_path
        if path is None:
            raise NotFoundError("the data set has no test data", hint="its owner attaches it")
        return self._context.located_path(path)

    def _log_sharing(
        self, session: Session, workspace_id: str, envelope: bytes, *, actor: str, dataset_id: str, shared: bool, now: datetime
    ) -> None:
        """Check the owner's signed statement and keep it in the workspace's log; who has left may still take back."""
        member, roster = member_entry(people.member(session, actor)), roster_in_force(session, workspace_id)
        said = verify_sharing(
            envelope, {member.key_id: VerifyKey.parse(member.public_key)}, organisation_id=member.organisation_id
        )
        expected = (dataset_id, workspace_id, roster.genesis_digest if roster else None, shared)
        if (said.dataset_id, said.workspace_id, said.workspace_genesis, said.shared) != expected:
            raise TrustError("a sharing statement is about something else", hint="sign it again")
        log_book.append(
            self._context,
            session,
            workspace_id,
            EntryKind.SHARING,
            dataset_id,
            now=now,
            document=envelope,
            actor=actor,
            shared=shared,
        )

    def _log_version(self, session: Session, workspace_id: str, manifest: DatasetManifest, now: datetime) -> None:
        log_book.append(
            self._context,
            session,
            workspace_id,
            EntryKind.DATASET,
            manifest.dataset_id,
            now=now,
            version=manifest.dataset_version,
            manifest_digest=manifest.digest,
            policy_commitment=manifest.policy_commitment,
        )

    def _verified(self, session: Session, actor: str, envelope: bytes, storage: Path) -> DatasetManifest:
        signers = [member_entry(record) for record in people.list_members(session)]
        manifest = verify_manifest(envelope, signers)
        _check_owner(signers, actor, manifest.organisation_id)
        for part in manifest.parts:
            path = storage / part.name
            if not path.is_file() or path.stat().st_size != part.size_bytes:
                raise InvalidInputError(
                    "a file of the data set is missing or has another size", hint="encrypt it again", file=part.name
                )
        return manifest

    def _check_sharing(self, session: Session, *, actor: str, dataset_id: str, workspace_id: str, shared: bool) -> None:
        self._owned(session, dataset_id, actor)
        already = workspace_id in {share.workspace_id for share in rows.shares(session, dataset_id)}
        if already is shared:
            word = "shared into this workspace already" if shared else "not shared into this workspace"
            raise ConflictError(f"the data set is {word}", hint="see 'opaque-jobs dataset show'")
        if shared:
            workspace, roster = member_workspace(session, workspace_id, actor)
            check_active(workspace)
            verify_manifest(rows.versions(session, dataset_id)[-1].envelope, roster.members)

    def _owned(self, session: Session, dataset_id: str, actor: str) -> None:
        view = self._view(session, dataset_id, actor)
        _check_owner([member_entry(people.member(session, actor))], actor, view.organisation_id)

    def _add(
        self, session: Session, manifest: DatasetManifest, *, envelope: bytes, storage: Path, actor: str, now: datetime
    ) -> None:
        record = DatasetVersionRecord(
            dataset_id=manifest.dataset_id,
            version=manifest.dataset_version,
            manifest_digest=manifest.digest,
            envelope=envelope,
            storage=self._context.stored_path(storage),
            registered_at=now,
        )
        rows.add_version(session, record)
        events.append(
            session,
            noun="dataset",
            subject_id=manifest.dataset_id,
            event="version",
            actor=actor,
            now=now,
            version=manifest.dataset_version,
            digest=manifest.digest,
        )

    def _view(self, session: Session, dataset_id: str, actor: str) -> DatasetView:
        """Give what the actor may see.

        Raises:
            NotFoundError: Nothing.
        """
        record = rows.dataset(session, dataset_id)
        visible = [
            share.workspace_id for share in rows.shares(session, dataset_id) if _is_member(session, share.workspace_id, actor)
        ]
        if people.member(session, actor).organisation_id != record.organisation_id and not visible:
            raise NotFoundError("no such data set", hint="list them with 'opaque-jobs dataset list'")
        versions = tuple(
            DatasetVersionView(
                version=each.version,
                manifest=claimed_manifest(each.envelope),
                envelope=each.envelope,
                registered_at=each.registered_at,
            )
            for each in rows.versions(session, dataset_id)
        )
        if not versions:
            raise TrustError(
                "a data set's versions are missing", hint="was the database changed? restore it", dataset_id=record.id
            )
        current = versions[-1].manifest
        return DatasetView(
            id=record.id,
            name=record.name,
            organisation_id=record.organisation_id,
            description=record.description,
            source=record.source,
            versions=versions,
            columns=current.columns,
            released=released_of(record.released, current),
            test_data_kind=record.test_data_kind,
            test_files=listed_files(self._context.located_path(record.test_data_path)) if record.test_data_path else (),
            workspace_ids=tuple(visible),
            size_bytes=sum(part.size_bytes for part in current.parts),
            created_at=record.created_at,
        )


def claimed_manifest(envelope: bytes) -> DatasetManifest:
    """Read a stored manifest, for people.

    Trust: nothing is verified: a signer's key may have changed since. Whoever relies on it uses `consent.verify_manifest`.

    Raises:
        InvalidInputError: It is none.
    """
    outer = parse_json(envelope, what="data set manifest")
    try:
        inner = parse_json(base64.b64decode(outer["payload"]), what="data set manifest")
        predicate = inner["predicate"]
    except (LookupError, TypeError, ValueError):
        raise InvalidInputError("a data set's manifest is not in its form", hint="was the database changed? restore it") from None
    return DatasetManifest.parse(predicate)


def released_of(envelope: bytes | None, manifest: DatasetManifest) -> tuple[Column, ...]:
    """Return the columns that an owner says to release; all of them if nothing was said.

    Trust: as `claimed_manifest`. It tells authors what they can ask for; the owner's broker decides what they get.
    """
    if envelope is None:
        return manifest.columns
    names = claimed_released(envelope)
    return tuple(column for column in manifest.columns if column.name in names)


def _is_member(session: Session, workspace_id: str, actor: str) -> bool:
    roster = roster_in_force(session, workspace_id)
    return roster is not None and actor in {member.id for member in roster.members}


def _check_owner(members: Sequence[MemberEntry], actor: str, organisation_id: str) -> None:
    if organisation_id not in {member.organisation_id for member in members if member.id == actor}:
        raise DeniedError("only a member of its owner may do this with a data set", hint="ask a member of the owner")
