"""Carry out one run: assemble what the enclave needs, let it run, check the receipt, publish result and receipt together."""

from collections.abc import Callable
from dataclasses import dataclass

from opaque_jobs.domain.lifecycle import RunState
from opaque_jobs.services import Services

__all__ = ["RunOutcome", "execute", "execute_test"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOutcome:
    """How a run ended.

    Args:
        run_id: The run.
        state: `succeeded`, `failed` or `cancelled`.
        reason: Closed word; None on success.
        reasons: A broker's refusal codes.
        retryable: Only the sandbox was to blame: another attempt may succeed.
    """

    run_id: str
    state: RunState
    reason: str | None
    reasons: tuple[str, ...]
    retryable: bool


def execute(
    services: Services,
    run_id: str,
    *,
    cores: int,
    memory_bytes: int,
    keep_open: Callable[[], bool] = lambda: True,
    on_status: Callable[[str], None] = lambda _word: None,
) -> RunOutcome:
    """Carry out a queued real run whose gate is open, to its end.

    Args:
        services: The services.
        run_id: The run.
        cores: Threads for the engine, from the Spark connection; capped by the approved limits.
        memory_bytes: Memory of the sandbox, likewise.
        keep_open: Asked every few seconds; False ends the enclave.
        on_status: Told each status word.

    Raises:
        ConflictError: The run is not queued, or its gate is not open.
    """
    raise NotImplementedError


def execute_test(
    services: Services,
    run_id: str,
    *,
    cores: int,
    memory_bytes: int,
    keep_open: Callable[[], bool] = lambda: True,
    on_status: Callable[[str], None] = lambda _word: None,
) -> RunOutcome:
    """Carry out a queued test run on test data, in the same sandbox, without brokers, keys or receipt."""
    raise NotImplementedError
