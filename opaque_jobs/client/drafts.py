"""What a member's own client remembers of the drafts that it wrote: the digest of all that their author chose, for each job.

A draft waits in the database until it is submitted. What is signed then is compared with what was written.
"""

from dataclasses import replace

from opaque_jobs.client.memory import own_memory
from opaque_jobs.domain.canonical import digest
from opaque_jobs.domain.document import to_bytes
from opaque_jobs.domain.job import JobSpec
from opaque_jobs.domain.workspace import MemberEntry
from opaque_jobs.protocol.drafts import DraftDataset, JobDraft
from opaque_jobs.protocol.views import JobView
from opaque_jobs.settings import Settings

__all__ = ["is_own_draft", "remember_draft"]


def remember_draft(settings: Settings, author: MemberEntry, job: JobView, draft: JobDraft) -> None:
    """Keep what an author wrote, as they wrote it; of the job no more than where it is.

    Raises:
        ConfigurationError: It cannot be read or written.
    """
    own_memory(settings, author).remember_draft(job.workspace_id, job.id, digest(to_bytes(draft)))


def is_own_draft(settings: Settings, author: MemberEntry, spec: JobSpec, draft: JobDraft) -> bool:
    """Tell whether a document that is to be signed says what this author's client wrote, and nothing else.

    Args:
        settings: Where the author's key is.
        author: Who wrote it.
        spec: What is to be signed.
        draft: As the database shows it, untrusted: it tells what was left open.

    Raises as `remember_draft`.
    """
    wrote = own_memory(settings, author).wrote_draft(spec.workspace_id, spec.job_id, digest(to_bytes(draft)))
    return wrote and _of(spec, draft) == to_bytes(draft)


def _of(spec: JobSpec, draft: JobDraft) -> bytes:
    """Give the draft that a document says, with what this draft leaves open left open."""
    open_version = {use.alias for use in draft.datasets if use.version is None}
    open_columns = {use.alias for use in draft.datasets if use.columns is None}
    said = replace(
        draft,
        kind=spec.kind,
        tee_kinds=spec.tee_kinds,
        tee_policies=spec.tee_policies,
        experimental_hardware=spec.experimental_hardware,
        name=spec.name,
        description=spec.description,
        code=spec.code,
        template=spec.template,
        inputs=spec.inputs,
        datasets=tuple(
            DraftDataset(
                alias=use.alias,
                dataset_id=use.dataset_id,
                version=None if use.alias in open_version else use.dataset_version,
                columns=None if use.alias in open_columns else use.columns,
            )
            for use in spec.datasets
        ),
        output_policy=spec.output_policy,
        rerun_terms=spec.rerun_terms,
        spark_conf=spec.spark_conf,
        limits=spec.limits,
    )
    return to_bytes(said)
