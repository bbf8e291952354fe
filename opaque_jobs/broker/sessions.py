"""Sessions of the key broker protocol: a nonce that is good once and for two minutes, then a proven case for five.

Asking for a nonce leaves nothing behind: the session's id is the nonce itself with its kind and end, under a key of this process.
So there is no place that others could take, and nothing to forget. What is remembered is which nonces were spent, until they
have run out anyway, and what was proven. Both are counted for each peer: who has too many waits, and nobody else does.
A restarted broker has another key, so nothing old can be used; enclaves start over.
"""

import base64
import binascii
import hmac
import os
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from opaque_jobs.attestation.result import LIFETIME_S
from opaque_jobs.broker.policy import NONCE_LIFETIME_S, Case, Refused
from opaque_jobs.domain.job import TeeKind

__all__ = ["MAX_OF_PEER", "NO_SESSION", "TOO_MANY", "Session", "Sessions"]

MAX_OF_PEER: Final = 256
"""Nonces of one peer that are spent and have not run out, and cases that it proved."""
NO_SESSION: Final = Refused(reasons=("session-unknown-or-expired",))
TOO_MANY: Final = Refused(reasons=("too-many-requests",))
_NONCE_BYTES: Final = 32
_TIME_BYTES: Final = 8
_TAG_BYTES: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One conversation with an enclave, as its id says.

    Args:
        kind: Kind of evidence that it will show.
        nonce: Base64 of 32 random bytes.
        ends_at: After this the nonce is not good any more.
    """

    kind: TeeKind
    nonce: str
    ends_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spent:
    peer: str
    ends_at: datetime
    case: Case | None


class Sessions:
    """All conversations of one broker. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._key = os.urandom(32)
        self._spent: dict[str, _Spent] = {}

    def begin(self, kind: TeeKind, *, now: datetime) -> tuple[str, Session]:
        """Open a conversation: its id, which is all that there is of it, and what it says."""
        nonce = os.urandom(_NONCE_BYTES)
        ends_at = int((now + timedelta(seconds=NONCE_LIFETIME_S)).timestamp() * 1_000_000)
        said = nonce + ends_at.to_bytes(_TIME_BYTES) + kind.value.encode()
        session_id = base64.urlsafe_b64encode(said + self._tag(said)).rstrip(b"=").decode("ascii")
        return session_id, _read(said)

    def take(self, session_id: str, *, peer: str, now: datetime) -> Session | Refused:
        """Spend a conversation's nonce, whatever happens next.

        Refused if it is not ours, spent or too old; and, with its nonce still good, if this peer has spent too many lately.
        """
        session = self._said(session_id)
        if session is None or now >= session.ends_at:
            return NO_SESSION
        with self._lock:
            self._spent = {nonce: each for nonce, each in self._spent.items() if each.ends_at > now}
            if session.nonce in self._spent:
                return NO_SESSION
            if sum(each.peer == peer for each in self._spent.values()) >= MAX_OF_PEER:
                return TOO_MANY
            self._spent[session.nonce] = _Spent(peer=peer, ends_at=session.ends_at, case=None)
        return session

    def prove(self, session: Session, case: Case, *, peer: str, now: datetime) -> None:
        """Keep what a conversation proved, for five minutes."""
        with self._lock:
            self._spent[session.nonce] = _Spent(peer=peer, ends_at=now + timedelta(seconds=LIFETIME_S), case=case)

    def proven(self, session_id: str, *, now: datetime) -> Case | None:
        """Give what a conversation proved; None if it did not, or too long ago."""
        session = self._said(session_id)
        if session is None:
            return None
        with self._lock:
            spent = self._spent.get(session.nonce)
        return spent.case if spent is not None and now < spent.ends_at else None

    def _tag(self, said: bytes) -> bytes:
        return hmac.digest(self._key, said, "sha256")

    def _said(self, session_id: str) -> Session | None:
        """Return what a session's id says, if this process made it."""
        try:
            data = base64.b64decode(session_id + "=" * (-len(session_id) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        said, tag = data[:-_TAG_BYTES], data[-_TAG_BYTES:]
        return _read(said) if hmac.compare_digest(tag, self._tag(said)) else None


def _read(said: bytes) -> Session:
    """Read what an id says that this process made."""
    nonce, rest = said[:_NONCE_BYTES], said[_NONCE_BYTES:]
    ends_at, kind = rest[:_TIME_BYTES], rest[_TIME_BYTES:]
    return Session(
        kind=TeeKind(kind.decode()),
        nonce=base64.b64encode(nonce).decode("ascii"),
        ends_at=datetime.fromtimestamp(0, UTC) + timedelta(microseconds=int.from_bytes(ends_at)),
    )
