"""Sessions of the key broker protocol: a nonce that is good once and for two minutes, then a proven case for five.

In memory only. A restarted broker has forgotten its nonces, so nothing old can be used; enclaves start over.
"""

import base64
import os
import secrets
import threading
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from opaque_jobs.attestation.result import LIFETIME_S
from opaque_jobs.broker.policy import NONCE_LIFETIME_S, Case
from opaque_jobs.domain.job import TeeKind

__all__ = ["Session", "Sessions"]

_MAX_SESSIONS: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One conversation with an enclave.

    Args:
        kind: Kind of evidence that it will show.
        nonce: Base64 of 32 random bytes.
        ends_at: After this it is forgotten.
        case: What it proved; None before.
    """

    kind: TeeKind
    nonce: str
    ends_at: datetime
    case: Case | None


class Sessions:
    """All open conversations of one broker. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, Session] = {}

    def begin(self, kind: TeeKind, *, now: datetime) -> tuple[str, Session]:
        """Open a conversation; when there are too many, the oldest that has proved nothing is forgotten."""
        session = Session(
            kind=kind,
            nonce=base64.b64encode(os.urandom(32)).decode("ascii"),
            ends_at=now + timedelta(seconds=NONCE_LIFETIME_S),
            case=None,
        )
        session_id = secrets.token_urlsafe(32)
        with self._lock:
            self._open = {key: each for key, each in self._open.items() if each.ends_at > now}
            # Anybody may begin; only an enclave with evidence for this broker proves, so nobody else's place is at risk.
            unproven = [key for key, each in self._open.items() if each.case is None]
            for key in unproven[: max(0, len(unproven) + 1 - _MAX_SESSIONS)]:
                del self._open[key]
            self._open[session_id] = session
        return session_id, session

    def take(self, session_id: str, *, now: datetime) -> Session | None:
        """Spend a conversation's nonce: it is gone whatever happens next. None if it is unknown, spent or too old."""
        with self._lock:
            session = self._open.get(session_id)
            if session is None or session.case is not None:
                return None
            del self._open[session_id]
        return session if now < session.ends_at else None

    def prove(self, session_id: str, session: Session, case: Case, *, now: datetime) -> None:
        """Keep what a conversation proved, for five minutes."""
        with self._lock:
            self._open[session_id] = replace(session, case=case, ends_at=now + timedelta(seconds=LIFETIME_S))

    def proven(self, session_id: str, *, now: datetime) -> Case | None:
        """Give what a conversation proved; None if it did not, or too long ago."""
        with self._lock:
            session = self._open.get(session_id)
        return session.case if session is not None and now < session.ends_at else None
