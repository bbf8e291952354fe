"""The declared nouns over the services: who asks is authenticated, lists come in parts, paths of this machine stay here.

What somebody signed is verified by the services; here it is only checked that it is the asker who brings it.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from opaque_jobs.api.actor import Actor
from opaque_jobs.api.paging import check_limit, next_after, page, position
from opaque_jobs.api.uploads import Uploads
from opaque_jobs.crypto.signing import claimed_key_id
from opaque_jobs.data.dataset_files import verify_files
from opaque_jobs.domain.approval_rule import ApprovalGroup
from opaque_jobs.domain.dataset import Source, TestDataKind
from opaque_jobs.domain.ids import new_id
from opaque_jobs.domain.job import Code, parse_job_spec
from opaque_jobs.domain.lifecycle import JobStatus, RunState
from opaque_jobs.domain.review import ApprovalBundle, Decision
from opaque_jobs.domain.run import RunKind
from opaque_jobs.domain.workspace import MemberEntry, RunPolicy
from opaque_jobs.errors import DeniedError, InvalidInputError
from opaque_jobs.protocol.documents import (
    DatasetDocument,
    DatasetVersionDocument,
    FileDocument,
    FollowedList,
    LogEntryDocument,
    LogHeadDocument,
    ProvenEntryDocument,
    ReceiptDocument,
    TextDocument,
    UploadDocument,
    WhoAmI,
)
from opaque_jobs.protocol.drafts import JobDraft
from opaque_jobs.protocol.operations import Page
from opaque_jobs.protocol.views import (
    BrokerPush,
    DatasetView,
    JobView,
    OrganisationView,
    PinnedQueryView,
    ReviewView,
    RosterProposal,
    RunView,
    WorkspaceView,
)
from opaque_jobs.services import Services
from opaque_jobs.services.datasets import claimed_manifest

__all__ = ["use_cases"]

_JOB_ORDERS: Final[dict[str, Any]] = {
    "created_at": lambda job: (job.created_at.isoformat(), job.id),
    "updated_at": lambda job: (job.updated_at.isoformat(), job.id),
    "name": lambda job: (job.draft.name, job.id),
}


def use_cases(services: Services, uploads: Uploads, *, version: str) -> dict[str, Any]:
    """Give what answers each noun of `protocol.api.NOUNS`.

    Args:
        services: Of this installation.
        uploads: Where files arrive.
        version: Of this program.
    """
    return {
        "people": _People(services, version),
        "workspaces": _Workspaces(services),
        "datasets": _Datasets(services, uploads),
        "uploads": _Uploads(services, uploads),
        "jobs": _Jobs(services),
        "reviews": _Reviews(services),
        "runs": _Runs(services),
        "queries": _Queries(services),
        "logs": _Logs(services),
    }


class _Noun:
    def __init__(self, services: Services) -> None:
        self._services = services

    def _check_own(self, actor: Actor, envelope: bytes, members: Iterable[MemberEntry]) -> None:
        """Check that a statement claims to be the asker's: others' are theirs to bring.

        Raises:
            DeniedError: It is another's.
        """
        claimed = claimed_key_id(envelope)
        if claimed not in {each.key_id for each in members if each.id == actor.member_id}:
            raise DeniedError("this statement is not signed by you", hint="each member brings their own")


class _People(_Noun):
    def __init__(self, services: Services, version: str) -> None:
        super().__init__(services)
        self._version = version

    def me(self, *, actor: Actor) -> WhoAmI:
        member = self._services.workspaces.member(actor.member_id)
        return WhoAmI(
            member_id=member.id,
            name=member.name,
            organisation_id=member.organisation_id,
            via=actor.via.value,
            version=self._version,
        )

    def members(self, *, actor: Actor, name: str | None = None, cursor: str | None = None, limit: int = 100) -> Page[MemberEntry]:
        everybody = self._services.workspaces.members()
        if name is not None:
            found = [each for each in everybody if each.name == name]
        else:
            known = self._known(actor)
            found = [each for each in everybody if each.id in known]
        return page(found, key=lambda each: (each.name, each.id), cursor=cursor, limit=limit)

    def organisations(self, *, actor: Actor, cursor: str | None = None, limit: int = 100) -> Page[OrganisationView]:
        known = self._known(actor)
        ids = {each.organisation_id for each in self._services.workspaces.members() if each.id in known}
        found = [each for each in self._services.workspaces.organisations() if each.entry.id in ids]
        return page(found, key=lambda each: (each.entry.name, each.entry.id), cursor=cursor, limit=limit)

    def _known(self, actor: Actor) -> set[str]:
        """Give the ids of those whom the asker knows: colleagues, and whoever is in a member list with them."""
        own = self._services.workspaces.member(actor.member_id).organisation_id
        known = {each.id for each in self._services.workspaces.members(organisation_id=own)}
        for view in self._services.workspaces.list(actor=actor.member_id, archived=True):
            for roster in (view.roster, view.proposal.roster if view.proposal else None):
                known |= {each.id for each in roster.members} if roster else set()
        return known


class _Workspaces(_Noun):
    def list(self, *, actor: Actor, archived: bool = False, cursor: str | None = None, limit: int = 100) -> Page[WorkspaceView]:
        found = self._services.workspaces.list(actor=actor.member_id, archived=archived)
        return page(found, key=lambda each: (each.name, each.id), cursor=cursor, limit=limit)

    def show(self, *, actor: Actor, workspace_id: str) -> WorkspaceView:
        return self._services.workspaces.show(workspace_id, actor=actor.member_id)

    def create(
        self,
        *,
        actor: Actor,
        name: str,
        member_ids: tuple[str, ...],
        description: str = "",
        run_policy: RunPolicy = RunPolicy.AUTHOR,
        runners: tuple[str, ...] = (),
        approval_groups: tuple[ApprovalGroup, ...] = (),
    ) -> RosterProposal:
        return self._services.workspaces.create(
            actor=actor.member_id,
            name=name,
            description=description,
            member_ids=member_ids,
            run_policy=run_policy,
            runners=runners,
            approval_groups=approval_groups,
        )

    def propose_change(self, *, actor: Actor, workspace_id: str, **changes: Any) -> RosterProposal:
        return self._services.workspaces.propose_change(actor=actor.member_id, workspace_id=workspace_id, **changes)

    def cancel(self, *, actor: Actor, workspace_id: str) -> WorkspaceView:
        return self._services.workspaces.cancel(workspace_id, actor=actor.member_id)

    def accept(self, *, actor: Actor, workspace_id: str, envelope: bytes) -> WorkspaceView:
        proposal = self._services.workspaces.show(workspace_id, actor=actor.member_id).proposal
        if proposal is not None:
            self._check_own(actor, envelope, proposal.roster.members)
        return self._services.workspaces.accept(workspace_id=workspace_id, envelope=envelope)

    def followed_list(self, *, actor: Actor, workspace_id: str) -> FollowedList | None:
        found = self._services.workspaces.followed_list(workspace_id, actor=actor.member_id)
        return None if found is None else FollowedList(roster=found[0], acceptances=found[1])

    def broker_push(self, *, actor: Actor, workspace_id: str) -> BrokerPush:
        return self._services.workspaces.broker_push(workspace_id, actor=actor.member_id)

    def archive(self, *, actor: Actor, workspace_id: str) -> WorkspaceView:
        return self._services.workspaces.archive(workspace_id, actor=actor.member_id)

    def unarchive(self, *, actor: Actor, workspace_id: str) -> WorkspaceView:
        return self._services.workspaces.unarchive(workspace_id, actor=actor.member_id)


class _Uploads(_Noun):
    def __init__(self, services: Services, uploads: Uploads) -> None:
        super().__init__(services)
        self._uploads = uploads

    def begin(self, *, actor: Actor) -> UploadDocument:
        return self._uploads.begin(actor, now=self._services.context.now())

    def show(self, *, actor: Actor, upload_id: str) -> UploadDocument:
        return self._uploads.show(upload_id, actor=actor)

    def drop(self, *, actor: Actor, upload_id: str) -> None:
        self._uploads.drop(upload_id, actor=actor)


class _Datasets(_Noun):
    def __init__(self, services: Services, uploads: Uploads) -> None:
        super().__init__(services)
        self._uploads = uploads

    def register(
        self, *, actor: Actor, upload_id: str, envelope: bytes, source: Source, description: str = ""
    ) -> DatasetDocument:
        with self._arrived(actor, upload_id, envelope) as storage:
            view = self._services.datasets.register(
                actor=actor.member_id, envelope=envelope, storage=storage, source=source, description=description
            )
        return _dataset(view)

    def add_version(self, *, actor: Actor, dataset_id: str, upload_id: str, envelope: bytes) -> DatasetDocument:
        self._services.datasets.show(dataset_id, actor=actor.member_id)
        if claimed_manifest(envelope).dataset_id != dataset_id:
            raise InvalidInputError("the signed manifest is another data set's", hint="name the data set that it is of")
        with self._arrived(actor, upload_id, envelope) as storage:
            view = self._services.datasets.add_version(actor=actor.member_id, envelope=envelope, storage=storage)
        return _dataset(view)

    def attach_test_data(
        self, *, actor: Actor, dataset_id: str, kind: TestDataKind, upload_id: str | None = None
    ) -> DatasetDocument:
        attach, settings = self._services.datasets.attach_test_data, self._services.context.settings
        known = self._services.datasets.show(dataset_id, actor=actor.member_id)
        if upload_id is None:
            return _dataset(attach(actor=actor.member_id, dataset_id=dataset_id, kind=kind, path=None))
        folder = settings.datasets_dir / known.id / f"test-{new_id('data')}"
        with self._uploads.moved(upload_id, folder, actor=actor):
            return _dataset(attach(actor=actor.member_id, dataset_id=dataset_id, kind=kind, path=folder))

    @contextlib.contextmanager
    def _arrived(self, actor: Actor, upload_id: str, envelope: bytes) -> Iterator[Path]:
        """Give the place of a version whose files have arrived as its manifest says; they are back if it is not taken.

        Trust: the manifest's signature is the services' to verify.
        """
        arrived = self._uploads.folder(upload_id, actor=actor)
        manifest = claimed_manifest(envelope)
        verify_files(manifest, arrived)
        target = self._services.context.settings.dataset_dir(manifest.dataset_id, manifest.dataset_version)
        with self._uploads.moved(upload_id, target, actor=actor):
            yield target

    def list(
        self, *, actor: Actor, workspace_id: str | None = None, cursor: str | None = None, limit: int = 100
    ) -> Page[DatasetDocument]:
        found = self._services.datasets.list(actor=actor.member_id, workspace_id=workspace_id)
        part = page(found, key=lambda each: (each.name, each.id), cursor=cursor, limit=limit)
        return Page(items=tuple(map(_dataset, part.items)), next=part.next)

    def show(self, *, actor: Actor, dataset_id: str) -> DatasetDocument:
        return _dataset(self._services.datasets.show(dataset_id, actor=actor.member_id))

    def share(self, *, actor: Actor, dataset_id: str, workspace_id: str, envelope: bytes) -> DatasetDocument:
        return _dataset(
            self._services.datasets.share(
                actor=actor.member_id, dataset_id=dataset_id, workspace_id=workspace_id, envelope=envelope
            )
        )

    def unshare(self, *, actor: Actor, dataset_id: str, workspace_id: str, envelope: bytes) -> tuple[str, ...]:
        return self._services.datasets.unshare(
            actor=actor.member_id, dataset_id=dataset_id, workspace_id=workspace_id, envelope=envelope
        )

    def check_sharing(self, *, actor: Actor, dataset_id: str, workspace_id: str, shared: bool) -> None:
        self._services.datasets.check_sharing(
            actor=actor.member_id, dataset_id=dataset_id, workspace_id=workspace_id, shared=shared
        )

    def renew_signature(self, *, actor: Actor, dataset_id: str, envelope: bytes) -> DatasetDocument:
        self._services.datasets.show(dataset_id, actor=actor.member_id)
        found = self._services.datasets.renew_signature(actor=actor.member_id, envelope=envelope)
        if found.id != dataset_id:
            raise InvalidInputError("the signed manifest is another data set's", hint="name the data set that it is of")
        return _dataset(found)

    def delete(self, *, actor: Actor, dataset_id: str) -> None:
        self._services.datasets.delete(actor=actor.member_id, dataset_id=dataset_id)


class _Jobs(_Noun):
    def list(
        self,
        *,
        actor: Actor,
        workspace_id: str | None = None,
        status: tuple[JobStatus, ...] = (),
        author_id: str | None = None,
        archived: bool = False,
        sort: str = "-created_at",
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[JobView]:
        order, reverse = _order(sort, _JOB_ORDERS)
        found = self._services.jobs.list(actor=actor.member_id, workspace_id=workspace_id, archived=archived)
        wanted = [each for each in found if (not status or each.status in status) and author_id in (None, each.author_id)]
        return page(wanted, key=order, cursor=cursor, limit=limit, reverse=reverse)

    def show(self, *, actor: Actor, job_id: str) -> JobView:
        return self._services.jobs.show(job_id, actor=actor.member_id)

    def create_draft(self, *, actor: Actor, workspace_id: str, draft: JobDraft) -> JobView:
        return self._services.jobs.create_draft(actor=actor.member_id, workspace_id=workspace_id, draft=draft)

    def edit(self, *, actor: Actor, job_id: str, draft: JobDraft, version: int) -> JobView:
        return self._services.jobs.edit(actor=actor.member_id, job_id=job_id, draft=draft, version=version)

    def spec_for_submission(self, *, actor: Actor, job_id: str) -> bytes:
        return self._services.jobs.spec_for_submission(job_id, actor=actor.member_id).to_bytes()

    def diff(self, *, actor: Actor, job_id: str, revision: int | None = None) -> TextDocument:
        found = self._services.jobs.diff(job_id, actor=actor.member_id, revision=revision)
        return TextDocument(text=found.text, against=found.against)

    def revise(self, *, actor: Actor, job_id: str) -> JobView:
        return self._services.jobs.revise(actor=actor.member_id, job_id=job_id)

    def archive(self, *, actor: Actor, job_id: str) -> JobView:
        return self._services.jobs.archive(job_id, actor=actor.member_id)

    def unarchive(self, *, actor: Actor, job_id: str) -> JobView:
        return self._services.jobs.unarchive(job_id, actor=actor.member_id)

    def delete(self, *, actor: Actor, job_id: str) -> None:
        self._services.jobs.delete(job_id, actor=actor.member_id)


class _Reviews(_Noun):
    def status(self, *, actor: Actor, job_id: str, revision: int | None = None) -> ReviewView:
        return self._services.reviews.status(job_id, actor=actor.member_id, revision=revision)

    def bundle(self, *, actor: Actor, job_id: str, revision: int) -> ApprovalBundle:
        self._services.jobs.show(job_id, actor=actor.member_id)
        return self._services.reviews.bundle(job_id, revision)

    def submit(
        self,
        *,
        actor: Actor,
        job_id: str,
        spec: bytes,
        envelope: bytes,
        test_run_id: str | None = None,
        no_test_reason: str | None = None,
    ) -> ReviewView:
        self._services.jobs.show(job_id, actor=actor.member_id)
        if parse_job_spec(spec).author_id != actor.member_id:
            raise DeniedError("only its author submits a job", hint="ask its author")
        return self._services.reviews.submit(
            job_id=job_id, spec=spec, envelope=envelope, test_run_id=test_run_id, no_test_reason=no_test_reason
        )

    def vote(
        self,
        *,
        actor: Actor,
        job_id: str,
        envelope: bytes,
        comment: str | None = None,
        withdrawal: bytes | None = None,
    ) -> ReviewView:
        for each in (envelope, *([withdrawal] if withdrawal is not None else [])):
            self._check_own(actor, each, self._members(actor, job_id))
        return self._services.reviews.vote(job_id=job_id, envelope=envelope, comment=comment, withdrawal=withdrawal)

    def check_vote(self, *, actor: Actor, job_id: str, decision: Decision, comment: str | None = None) -> None:
        self._services.jobs.show(job_id, actor=actor.member_id)
        self._services.reviews.check_vote(job_id, actor=actor.member_id, decision=decision, comment=comment)

    def cancel_review(self, *, actor: Actor, job_id: str, withdrawal: bytes) -> ReviewView:
        return self._services.reviews.cancel_review(actor=actor.member_id, job_id=job_id, withdrawal=withdrawal)

    def withdraw(self, *, actor: Actor, job_id: str, envelope: bytes) -> ReviewView:
        self._check_own(actor, envelope, self._members(actor, job_id))
        return self._services.reviews.withdraw(job_id=job_id, envelope=envelope)

    def _members(self, actor: Actor, job_id: str) -> tuple[MemberEntry, ...]:
        job = self._services.jobs.show(job_id, actor=actor.member_id)
        roster = self._services.workspaces.show(job.workspace_id, actor=actor.member_id).roster
        return roster.members if roster else ()


class _Runs(_Noun):
    def history(
        self,
        *,
        actor: Actor,
        job_id: str,
        kind: RunKind | None = None,
        state: tuple[RunState, ...] = (),
        sort: str = "-number",
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[RunView]:
        order, reverse = _order(sort, {"number": lambda run: (run.number,)})
        found = self._services.runs.history(job_id, actor=actor.member_id)
        wanted = [each for each in found if kind in (None, each.kind) and (not state or each.state in state)]
        return page(wanted, key=order, cursor=cursor, limit=limit, reverse=reverse)

    def show(self, *, actor: Actor, run_id: str) -> RunView:
        return self._services.runs.show(run_id, actor=actor.member_id)

    def cancel(self, *, actor: Actor, run_id: str) -> RunView:
        return self._services.runs.cancel(run_id, actor=actor.member_id)

    def receipt(self, *, actor: Actor, run_id: str) -> ReceiptDocument:
        found = self._services.runs.receipt(run_id, actor=actor.member_id)
        return ReceiptDocument(
            run_id=found.run_id,
            receipt=found.receipt,
            spec_bytes=found.spec_bytes,
            bundle_bytes=found.bundle_bytes,
            inputs=found.inputs,
            refreshed=found.refreshed,
            files=_files(found.folder),
        )

    def files(self, *, actor: Actor, run_id: str) -> tuple[FileDocument, ...]:
        return _files(self._services.runs.result_folder(run_id, actor=actor.member_id))

    def start_test(self, *, actor: Actor, job_id: str, inputs: Mapping[str, Any]) -> RunView:
        return self._services.runs.start_test(actor=actor.member_id, job_id=job_id, inputs=inputs)


class _Queries(_Noun):
    def list(self, *, actor: Actor, workspace_id: str, cursor: str | None = None, limit: int = 100) -> Page[PinnedQueryView]:
        found = self._services.queries.list(actor=actor.member_id, workspace_id=workspace_id)
        return page(found, key=lambda each: (each.name,), cursor=cursor, limit=limit)

    def show(self, *, actor: Actor, workspace_id: str, name: str) -> PinnedQueryView:
        return self._services.queries.show(actor=actor.member_id, workspace_id=workspace_id, name=name)

    def pin(self, *, actor: Actor, workspace_id: str, name: str, code: Code, replace: bool = False) -> PinnedQueryView:
        return self._services.queries.pin(actor=actor.member_id, workspace_id=workspace_id, name=name, code=code, replace=replace)

    def unpin(self, *, actor: Actor, workspace_id: str, name: str) -> None:
        self._services.queries.unpin(actor=actor.member_id, workspace_id=workspace_id, name=name)


class _Logs(_Noun):
    def head(self, *, actor: Actor, workspace_id: str) -> LogHeadDocument:
        found = self._services.logs.head(workspace_id, actor=actor.member_id)
        return LogHeadDocument(workspace_id=found.workspace_id, size=found.size, checkpoint=found.checkpoint)

    def entries(self, *, actor: Actor, workspace_id: str, cursor: str | None = None, limit: int = 100) -> Page[LogEntryDocument]:
        check_limit(limit)
        first = _first(cursor)
        found = self._services.logs.entries(workspace_id, actor=actor.member_id, first=first, count=limit + 1)
        items = [
            LogEntryDocument(seq=first + at, body=each.body, document=each.document) for at, each in enumerate(found[:limit])
        ]
        return Page(items=tuple(items), next=next_after((first + limit,)) if len(found) > limit else None)

    def proven(
        self, *, actor: Actor, workspace_id: str, size: int, cursor: str | None = None, limit: int = 100
    ) -> Page[ProvenEntryDocument]:
        check_limit(limit)
        first = _first(cursor)
        last = min(size, first + limit)
        found = self._services.logs.proven(workspace_id, actor=actor.member_id, size=size, first=first, last=last)
        items = [ProvenEntryDocument(seq=each.seq, body=each.body, document=each.document, path=each.path) for each in found]
        return Page(items=tuple(items), next=next_after((last,)) if last < size else None)

    def consistency(self, *, actor: Actor, workspace_id: str, first: int, second: int) -> tuple[bytes, ...]:
        return tuple(self._services.logs.consistency(workspace_id, actor=actor.member_id, first=first, second=second))


def _first(cursor: str | None) -> int:
    place = (0,) if cursor is None else position(cursor)
    if len(place) != 1 or type(place[0]) is not int or place[0] < 0:
        raise InvalidInputError("the cursor is none of this list", hint="start again without one")
    return place[0]


def _order(sort: str, orders: Mapping[str, Any]) -> tuple[Any, bool]:
    name = sort.removeprefix("-")
    if name not in orders:
        raise InvalidInputError("the list has no such order", hint="one of: " + ", ".join(sorted(orders)))
    return orders[name], sort.startswith("-")


def _dataset(view: DatasetView) -> DatasetDocument:
    return DatasetDocument(
        id=view.id,
        name=view.name,
        organisation_id=view.organisation_id,
        description=view.description,
        source=view.source,
        versions=tuple(
            DatasetVersionDocument(
                version=each.version, manifest=each.manifest, envelope=each.envelope, registered_at=each.registered_at
            )
            for each in view.versions
        ),
        columns=view.columns,
        test_data_kind=view.test_data_kind,
        test_files=_files(view.test_data) if view.test_data else (),
        workspace_ids=view.workspace_ids,
        size_bytes=view.size_bytes,
        created_at=view.created_at,
    )


def _files(folder: Path) -> tuple[FileDocument, ...]:
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())
    return tuple(FileDocument(name=path.relative_to(folder).as_posix(), size_bytes=path.stat().st_size) for path in found)
