"""Closed lists of words that the database holds and Airflow may see."""

from enum import StrEnum

__all__ = ["CloseReason", "GateWord", "RosterState"]


class RosterState(StrEnum):
    """Life of one roster: at most one per workspace is proposed, at most one in force."""

    PROPOSED = "proposed"
    IN_FORCE = "in_force"
    PAST = "past"
    REPLACED = "replaced"


class GateWord(StrEnum):
    """What the gate in front of a run says: two words let it go on, all others refuse for good."""

    WAITING = "waiting"
    OPEN = "open"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    REVIEW_CANCELLED = "review-cancelled"
    DATASET_UNSHARED = "dataset-unshared"
    ARCHIVED = "archived"
    RUN_CLOSED = "run-closed"
    UNKNOWN = "unknown"


class CloseReason(StrEnum):
    """Why a run failed or was cancelled: the enclave's words (`protocol.FailureWord`), the gate's, and the host's own."""

    DIGEST_MISMATCH = "digest-mismatch"
    INPUTS_REFUSED = "inputs-refused"
    MANIFEST_REFUSED = "manifest-refused"
    BROKER_REFUSED = "broker-refused"
    BROKER_UNREACHABLE = "broker-unreachable"
    ENGINE_FAILED = "engine-failed"
    DATA_REFUSED = "data-refused"
    AUTHOR_ERROR = "author-error"
    OUTPUT_REFUSED = "output-refused"
    TIME_LIMIT = "time-limit"
    RESOURCE_LIMIT = "resource-limit"
    CANCELLED = "cancelled"
    INTERNAL = "internal"
    GATE_REJECTED = "rejected"
    GATE_WITHDRAWN = "withdrawn"
    GATE_EXPIRED = "expired"
    GATE_SUPERSEDED = "superseded"
    GATE_REVIEW_CANCELLED = "review-cancelled"
    GATE_DATASET_UNSHARED = "dataset-unshared"
    GATE_ARCHIVED = "archived"
    LEASE_REFUSED = "lease-refused"
    SANDBOX_UNAVAILABLE = "sandbox-unavailable"
    SANDBOX_ENDED = "sandbox-ended"
    RECEIPT_MISSING = "receipt-missing"
    RECEIPT_REFUSED = "receipt-refused"
    STORAGE_FAILED = "storage-failed"
    AIRFLOW_ENDED = "airflow-ended"
    WORKER_LOST = "worker-lost"
    STOPPED = "stopped"
    SKIPPED = "skipped"
