"""Carrying an enclave's requests to the brokers of the job's data owners, and to nobody else; and the log, which they demand.

To the enclave itself it proves that the states of the log which brokers have followed are of one log.

Before evidence goes to a broker, it is brought the entries of the workspace's log that it has not seen. When it answers that a
release has to be in the log first, its statement is appended, brought to it, and the same request repeated, once.
"""

from collections.abc import Callable
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Self

from opaque_jobs.attestation.kbs import (
    ATTEST_PATH,
    LOG_KEEPER,
    UNLOGGED_STATUS,
    consistency_answer,
    parse_consistency_path,
    parse_unlogged,
)
from opaque_jobs.client.broker import BrokerClient, Relayed
from opaque_jobs.crypto.keys import VerifyKey
from opaque_jobs.crypto.release import verify_release
from opaque_jobs.domain.job import JobSpec, parse_job_spec
from opaque_jobs.domain.log import EntryKind
from opaque_jobs.errors import ConflictError, OpaqueJobsError, TrustError
from opaque_jobs.protocol.enclave import BrokerRequest, BrokerResponse
from opaque_jobs.services import log_book
from opaque_jobs.services.context import Context
from opaque_jobs.store import jobs, people

__all__ = ["BrokerRelay", "bring_log", "bring_logs_in_time"]


def bring_log(context: Context, client: BrokerClient, workspace_id: str) -> None:
    """Bring a broker all entries of a workspace's log that it has not followed yet.

    Raises:
        ConfigurationError: It cannot be reached, or the log's key is not on this machine.
        TrustError: It does not believe them.
    """
    while True:
        with context.store.read() as session:
            page = log_book.page_after(context, session, workspace_id, client.followed_to(workspace_id))
        if page is None:
            return
        try:
            client.follow(page)
        except ConflictError:
            # Another run has brought some of them meanwhile.
            continue


def bring_logs_in_time(context: Context) -> None:
    """Bring the log to the brokers that a review with a deadline needs: what they see after it counts as too late.

    Who is away is tried again in the next round.
    """
    with context.store.read() as session:
        specs = [parse_job_spec(each.spec) for each in jobs.with_deadline(session, context.now())]
        wanted = {
            (spec.workspace_id, people.organisation(session, use.organisation_id).broker_address)
            for spec in specs
            for use in spec.datasets
        }
    for workspace_id, address in sorted(wanted):
        with suppress(OpaqueJobsError), BrokerClient(address) as client:
            bring_log(context, client, workspace_id)


class BrokerRelay:
    """Relays by organisation id; addresses come from our table, never from the enclave.

    Args:
        context: The installation.
        spec: The job.
        run_id: The run.
        asks_for_keys: Called before each request for keys leaves; if it raises, the request does not.
    """

    def __init__(self, context: Context, spec: JobSpec, *, run_id: str, asks_for_keys: Callable[[], None]) -> None:
        with context.store.read() as session:
            owners = {use.organisation_id for use in spec.datasets}
            self._owners = {each: people.organisation(session, each) for each in owners}
        self._context = context
        self._spec = spec
        self._run_id = run_id
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
        if request.org_id not in {*self._owners, LOG_KEEPER}:
            return unreached
        try:
            return self._prove(request) if request.org_id == LOG_KEEPER else self._answered(request)
        except OpaqueJobsError:
            return unreached

    def _answered(self, request: BrokerRequest) -> BrokerResponse:
        if request.org_id not in self._clients:
            client = BrokerClient(self._owners[request.org_id].broker_address)
            self._clients[request.org_id] = self._open.enter_context(client)
        answer = self._carry(self._clients[request.org_id], request)
        return BrokerResponse(request_id=request.request_id, status=answer.status, cookie=answer.cookie, body=answer.body)

    def _prove(self, request: BrokerRequest) -> BrokerResponse:
        """Answer with a consistency proof; with none where the log here is not that long: the enclave then refuses.

        Raises:
            InvalidInputError: It asks for something else.
        """
        first, second = parse_consistency_path(request.path)
        try:
            with self._context.store.read() as session:
                path = log_book.consistency(session, self._spec.workspace_id, first, second)
        except OpaqueJobsError:
            path = []
        return BrokerResponse(request_id=request.request_id, status=200, cookie="", body=consistency_answer(path))

    def _carry(self, client: BrokerClient, request: BrokerRequest) -> Relayed:
        if request.path == ATTEST_PATH:
            self._bring(client)
        if request.method == "GET":
            self._asks_for_keys()
        answer = client.relay(method=request.method, path=request.path, cookie=request.cookie, body=request.body)
        if answer.status != UNLOGGED_STATUS:
            return answer
        self._log_release(request.org_id, parse_unlogged(answer.body))
        self._bring(client)
        return client.relay(method=request.method, path=request.path, cookie=request.cookie, body=request.body)

    def _bring(self, client: BrokerClient) -> None:
        """Bring the log; a broker that does not believe it says why when it is shown the evidence."""
        try:
            bring_log(self._context, client, self._spec.workspace_id)
        except TrustError:
            return

    def _log_release(self, owner: str, statement: bytes) -> None:
        """Append a broker's release to the log, if it is one of this run by this owner."""
        key = VerifyKey.parse(self._owners[owner].broker_signing_key)
        job_digest, release = verify_release(statement, key, organisation_id=owner)
        if (job_digest, release.run_id, release.workspace_id) != (self._spec.digest, self._run_id, self._spec.workspace_id):
            raise TrustError("a broker's release is for another run", hint="is its clock or its memory right?")
        with self._context.store.write() as session:
            log_book.append(
                self._context,
                session,
                release.workspace_id,
                EntryKind.RELEASE,
                self._run_id,
                now=self._context.now(),
                document=statement,
                organisation_id=owner,
                job_digest=job_digest,
            )
