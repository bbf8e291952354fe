"""Runs and what they left, over the services."""

from collections.abc import Mapping
from typing import Any

from opaque_jobs.api.actor import Actor
from opaque_jobs.api.paging import page
from opaque_jobs.api.use_cases.noun import UseCases, ordering
from opaque_jobs.domain.lifecycle import RunState
from opaque_jobs.domain.run import RunKind
from opaque_jobs.protocol.documents import (
    FileDocument,
)
from opaque_jobs.protocol.operations import Page
from opaque_jobs.protocol.views import (
    LeaseView,
    ReceiptContext,
    RunView,
)
from opaque_jobs.services.context import listed_files

__all__ = ["RunsUseCases"]


class RunsUseCases(UseCases):
    """See `protocol.api.Runs`."""

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
        order, reverse = ordering(sort, {"number": lambda run: (run.number,)})
        found = self._services.runs.history(job_id, actor=actor.member_id)
        wanted = [each for each in found if kind in (None, each.kind) and (not state or each.state in state)]
        return page(wanted, key=order, cursor=cursor, limit=limit, reverse=reverse)

    def show(self, *, actor: Actor, run_id: str) -> RunView:
        return self._services.runs.show(run_id, actor=actor.member_id)

    def cancel(self, *, actor: Actor, run_id: str) -> RunView:
        return self._services.runs.cancel(run_id, actor=actor.member_id)

    def receipt(self, *, actor: Actor, run_id: str) -> ReceiptContext:
        return self._services.runs.receipt(run_id, actor=actor.member_id)

    def files(self, *, actor: Actor, run_id: str) -> tuple[FileDocument, ...]:
        return listed_files(self._services.runs.result_folder(run_id, actor=actor.member_id))

    def start_test(self, *, actor: Actor, job_id: str, inputs: Mapping[str, Any]) -> RunView:
        return self._services.runs.start_test(actor=actor.member_id, job_id=job_id, inputs=inputs)

    def lease(self, *, actor: Actor, job_id: str, revision: int) -> LeaseView:
        return self._services.runs.lease(job_id, revision, actor=actor.member_id)

    def check_start(self, *, actor: Actor, job_id: str, revision: int, inputs: Mapping[str, Any]) -> None:
        self._services.runs.check_start(actor=actor.member_id, job_id=job_id, revision=revision, inputs=inputs)
