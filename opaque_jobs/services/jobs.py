"""Jobs: drafts, and the one document that is made of a draft when it is submitted."""

from opaque_jobs.domain.job import JobSpec
from opaque_jobs.services.context import Context
from opaque_jobs.services.drafts import JobDraft
from opaque_jobs.services.views import JobView

__all__ = ["Jobs"]


class Jobs:
    """Use cases about jobs and their drafts."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def create_draft(self, *, actor: str, workspace_id: str, draft: JobDraft) -> JobView:
        """Make a job; the actor is its author.

        Raises:
            DeniedError: The actor is not a member.
            ConflictError: The workspace is not active.
        """
        raise NotImplementedError

    def edit(self, *, actor: str, job_id: str, draft: JobDraft, version: int | None = None) -> JobView:
        """Replace a draft's content.

        Args:
            actor: The author.
            job_id: The job, in `draft`.
            draft: The new content.
            version: `JobView.version` that was edited; None overwrites.

        Raises:
            ConflictError: Not a draft, or changed meanwhile.
            DeniedError: Not the author.
        """
        raise NotImplementedError

    def spec_for_submission(self, job_id: str, *, actor: str) -> JobSpec:
        """Pin data set versions, members, recipients and runtime into the document that everybody signs.

        The same draft gives the same bytes until something that it depends on changes.

        Raises:
            ConflictError: Not a draft, or a data set is not shared into the workspace.
            InvalidInputError: The draft is not complete or contradicts itself.
            ConfigurationError: No enclave runtime is built.
        """
        raise NotImplementedError

    def revise(self, *, actor: str, job_id: str) -> JobView:
        """Return an accepted, expired, withdrawn or superseded job to draft; an accepted revision stays in force meanwhile."""
        raise NotImplementedError

    def archive(self, job_id: str, *, actor: str) -> JobView:
        """Hide it from lists and stop it from running."""
        raise NotImplementedError

    def unarchive(self, job_id: str, *, actor: str) -> JobView:
        """Show it again."""
        raise NotImplementedError

    def delete(self, job_id: str, *, actor: str) -> None:
        """Delete a job that has no run.

        Raises:
            ConflictError: It has a run (archive it instead).
        """
        raise NotImplementedError

    def show(self, job_id: str, *, actor: str) -> JobView:
        """Give a job to a member of its workspace.

        Raises:
            NotFoundError: None, or the actor may not know of it.
        """
        raise NotImplementedError

    def list(self, *, actor: str, workspace_id: str | None = None, archived: bool = False) -> list[JobView]:
        """Give the jobs of the actor's workspaces, newest first."""
        raise NotImplementedError

    def diff(self, job_id: str, *, actor: str) -> str:
        """Compare the current revision (or the draft) with the revision last accepted.

        Returns:
            Unified diff of the code, then of the JSON of everything else; all of it as added if nothing was accepted.
        """
        raise NotImplementedError
