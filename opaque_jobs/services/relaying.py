"""Carrying an enclave's requests to the brokers of the job's data owners, and to nobody else."""

from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from opaque_jobs.broker.client import BrokerClient
from opaque_jobs.domain.job import JobSpec
from opaque_jobs.enclave.protocol import BrokerRequest, BrokerResponse
from opaque_jobs.errors import OpaqueJobsError
from opaque_jobs.services.context import Context
from opaque_jobs.store import people

__all__ = ["BrokerRelay"]


class BrokerRelay:
    """Relays by organisation id; addresses come from our table, never from the enclave.

    Args:
        context: The installation.
        spec: The job.
        asks_for_keys: Called before each request for keys leaves; if it raises, the request does not.
    """

    def __init__(self, context: Context, spec: JobSpec, *, asks_for_keys: Callable[[], None]) -> None:
        with context.store.read() as session:
            self._addresses = {
                use.organisation_id: people.organisation(session, use.organisation_id).broker_address for use in spec.datasets
            }
        self._asks_for_keys = asks_for_keys
        self._clients: dict[str, BrokerClient] = {}
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        self._open.close()

    def __call__(self, request: BrokerRequest) -> BrokerResponse:
        """Carry one request; status 0 if it is refused here or the broker cannot be reached."""
        unreached = BrokerResponse(request_id=request.request_id, status=0, cookie="", body="")
        if request.org_id not in self._addresses:
            return unreached
        if request.org_id not in self._clients:
            client = BrokerClient(self._addresses[request.org_id])
            self._clients[request.org_id] = self._open.enter_context(client)
        try:
            if request.method == "GET":
                self._asks_for_keys()
            answer = self._clients[request.org_id].relay(
                method=request.method, path=request.path, cookie=request.cookie, body=request.body
            )
        except OpaqueJobsError:
            return unreached
        return BrokerResponse(request_id=request.request_id, status=answer.status, cookie=answer.cookie, body=answer.body)
