"""The log's part of a relay between broker and enclave over a `LogKeeper`: what `services.relaying` does over the database."""

from collections.abc import Mapping

from opaque_jobs.attestation.kbs import (
    ATTEST_PATH,
    LOG_KEEPER,
    UNLOGGED_STATUS,
    consistency_answer,
    parse_consistency_path,
    parse_unlogged,
)
from opaque_jobs.client.broker import BrokerClient, Relayed
from opaque_jobs.domain.log import EntryKind
from opaque_jobs.protocol.enclave import BrokerRequest, BrokerResponse
from tests.support.log_keeper import LogKeeper


def bring(log: LogKeeper, client: BrokerClient) -> None:
    """Bring a broker the entries that it has not followed."""
    first = client.followed_to(log.workspace_id)
    if first < log.tree.size:
        client.follow(log.page(first))


def carry(log: LogKeeper, client: BrokerClient, *, method: str, path: str, cookie: str, body: str) -> Relayed:
    """Carry one request, with the log before evidence, and through the log where the broker demands it."""
    if path == ATTEST_PATH:
        bring(log, client)
    answer = client.relay(method=method, path=path, cookie=cookie, body=body)
    if answer.status != UNLOGGED_STATUS:
        return answer
    log.append(EntryKind.RELEASE, "run", parse_unlogged(answer.body))
    bring(log, client)
    return client.relay(method=method, path=path, cookie=cookie, body=body)


def relay(log: LogKeeper, clients: Mapping[str, BrokerClient], request: BrokerRequest) -> BrokerResponse:
    """Answer one request of an enclave: for the log, or as the broker that it is for."""
    if request.org_id == LOG_KEEPER:
        proof = log.consistency(*parse_consistency_path(request.path))
        return BrokerResponse(request_id=request.request_id, status=200, cookie="", body=consistency_answer(proof))
    answer = carry(
        log, clients[request.org_id], method=request.method, path=request.path, cookie=request.cookie, body=request.body
    )
    return BrokerResponse(request_id=request.request_id, status=answer.status, cookie=answer.cookie, body=answer.body)
