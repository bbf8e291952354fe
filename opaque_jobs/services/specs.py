"""From a draft to the one document that everybody signs: data set versions, members, recipients and runtime are pinned."""

from collections.abc import Mapping, Sequence

from sqlalchemy.orm import Session

from opaque_jobs.crypto.consent import verify_manifest
from opaque_jobs.domain.dataset import Column, DatasetManifest
from opaque_jobs.domain.job import Code, DatasetUse, JobSpec, Recipient, TemplateUse
from opaque_jobs.domain.output_policy import OutputPolicy
from opaque_jobs.domain.workspace import Roster
from opaque_jobs.errors import ConflictError, InvalidInputError
from opaque_jobs.protocol.drafts import DraftDataset, JobDraft
from opaque_jobs.services.datasets import released_of
from opaque_jobs.store import datasets as dataset_rows
from opaque_jobs.store.records import JobRecord

__all__ = ["build_spec", "check_released"]


def build_spec(session: Session, job: JobRecord, draft: JobDraft, roster: Roster, *, measurement: str) -> JobSpec:
    """Pin everything that the draft leaves open.

    Args:
        session: A transaction.
        job: The job.
        draft: Its content.
        roster: In force.
        measurement: Digest of the runtime.

    Raises:
        ConflictError: A data set is not shared into the workspace.
        InvalidInputError: The draft is not complete or contradicts itself.
        TrustError: A manifest is not signed by a member of the roster.
    """
    manifests = {use.alias: _pinned(session, use, roster) for use in draft.datasets}
    released = {
        use.alias: released_of(dataset_rows.dataset(session, use.dataset_id).released, manifests[use.alias])
        for use in draft.datasets
    }
    code, policy, template, columns = _content(draft, released)
    home = roster.organisation(roster.member(job.author_id).organisation_id)
    return JobSpec(
        v=1,
        workspace_id=roster.workspace_id,
        workspace_genesis=roster.genesis_digest,
        epoch=roster.epoch,
        roster_digest=roster.digest,
        job_id=job.id,
        revision=job.next_revision,
        author_id=job.author_id,
        name=draft.name,
        description=draft.description,
        kind=draft.kind,
        code=code,
        template=template,
        inputs=draft.inputs,
        datasets=tuple(_use(use, manifests[use.alias], columns.get(use.alias), released[use.alias]) for use in draft.datasets),
        output_policy=policy,
        recipients=(Recipient(organisation_id=home.id, sealing_key=home.sealing_key, sealing_key_id=home.sealing_key_id),),
        rerun_terms=draft.rerun_terms,
        measurement=measurement,
        tee_kinds=draft.tee_kinds,
        tee_policies=draft.tee_policies,
        experimental_hardware=draft.experimental_hardware,
        spark_conf=draft.spark_conf,
        limits=draft.limits,
    )


def _pinned(session: Session, use: DraftDataset, roster: Roster) -> DatasetManifest:
    if roster.workspace_id not in {share.workspace_id for share in dataset_rows.shares(session, use.dataset_id)}:
        raise ConflictError(
            f"the data set '{use.alias}' is not shared into this workspace", hint="ask its owner to share it", alias=use.alias
        )
    versions = dataset_rows.versions(session, use.dataset_id)
    number = versions[-1].version if use.version is None else use.version
    record = dataset_rows.version(session, use.dataset_id, number)
    manifest = verify_manifest(record.envelope, roster.members)
    if (manifest.dataset_id, manifest.dataset_version) != (use.dataset_id, number):
        raise ConflictError("a stored manifest is of another data set", hint="ask its owner to register it again")
    return manifest


def _use(use: DraftDataset, manifest: DatasetManifest, wanted: tuple[str, ...] | None, released: Sequence[Column]) -> DatasetUse:
    known = [column.name for column in manifest.columns]
    chosen = use.columns or wanted or tuple(column.name for column in released)
    if not set(chosen) <= set(known):
        raise InvalidInputError(
            f"the data set '{use.alias}' does not have all the columns that the job names",
            hint="see 'opaque-jobs dataset show'",
            alias=use.alias,
        )
    check_released(use.alias, chosen, released)
    return DatasetUse(
        alias=use.alias,
        dataset_id=manifest.dataset_id,
        dataset_version=manifest.dataset_version,
        manifest_digest=manifest.digest,
        schema_digest=manifest.schema_digest,
        policy_commitment=manifest.policy_commitment,
        organisation_id=manifest.organisation_id,
        columns=chosen,
    )


def check_released(alias: str, chosen: Sequence[str], released: Sequence[Column]) -> None:
    """Check, before anybody votes, that a job asks for no column that its owner's broker will not release.

    Raises:
        InvalidInputError: It does; says which.
    """
    names = [column.name for column in released]
    held = [name for name in chosen if name not in names]
    if held or not chosen:
        raise InvalidInputError(
            f"the owner of the data set '{alias}' does not release "
            + (f"its column '{held[0]}'" if held else "any column that it has now"),
            hint="released: " + (", ".join(names[:30]) or "nothing") + "; ask its owner for more",
        )


def _content(
    draft: JobDraft, released: Mapping[str, Sequence[Column]]
) -> tuple[Code, OutputPolicy, TemplateUse | None, dict[str, tuple[str, ...]]]:
    """Give code and policy; those of a no-code job are rendered anew from its template, never taken on trust."""
    if draft.template is None:
        if draft.code is None:
            raise InvalidInputError("the job has no code", hint="write it before submitting")
        return draft.code, draft.output_policy, None, {}
    # The catalogue brings an SQL parser along: every Airflow task loads the services, few of them a template.
    from opaque_jobs.templates.registry import load_catalogue  # noqa: PLC0415
    from opaque_jobs.templates.rendering import render  # noqa: PLC0415

    template = load_catalogue().find(draft.template.name, draft.template.version)
    rendered = render(template, draft.template.parameters, released)
    if draft.template.digest != rendered.use.digest or draft.code not in (None, rendered.code):
        raise InvalidInputError("the job's code is not what its template gives", hint="fill in the template again")
    return rendered.code, rendered.output_policy, rendered.use, rendered.columns
