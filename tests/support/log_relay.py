"""The log's part of a relay between broker and enclave over a `LogKeeper`: what `services.relaying` does over the database."""

from opaque_jobs.attestation.kbs import ATTEST_PATH, UNLOGGED_STATUS, parse_unlogged
from opaque_jobs.broker.client import BrokerClient, Relayed
from opaque_jobs.domain.log import EntryKind
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
