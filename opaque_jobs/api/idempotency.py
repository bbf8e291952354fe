"""A change that is asked for twice under one key happens once, and is answered twice (draft-ietf-httpapi-idempotency-key-header).

The answer is kept with the digest of what was asked, for a day; the same key for something else is refused.
"""

import hashlib
import re
from collections.abc import Callable
from datetime import datetime
from typing import Final, Protocol

from fastapi import Request, Response

from opaque_jobs.errors import InvalidInputError

__all__ = ["HEADER", "Answer", "Answers", "once"]

HEADER: Final = "idempotency-key"
_KEY: Final = re.compile(r"[A-Za-z0-9_-]{16,128}")

Answer = tuple[int, dict[str, str], bytes]
"""Status, headers and body."""


class Answers(Protocol):
    """Where answers are kept."""

    def begin(self, owner: str, key: str, asked: str, *, now: datetime) -> Answer | None:
        """Claim a key for what is asked; give the answer if it was answered before.

        Raises:
            ConflictError: The key was used for something else, or the first request is not answered yet.
        """

    def finish(self, owner: str, key: str, answer: Answer | None) -> None:
        """Keep the answer; None gives the key free again: nothing was done."""


def once(
    request: Request, *, owner: str, body: bytes, answers: Answers, now: datetime, carry_out: Callable[[], Response]
) -> Response:
    """Carry out a change, or answer as it was answered before.

    Args:
        request: The request; without the header the change is just carried out.
        owner: Whose key it is.
        body: What was sent.
        answers: Where answers are kept.
        now: Aware time.
        carry_out: Does it. What raises has done nothing, and may be asked again under the same key.

    Raises:
        ConflictError: The key is in use for something else, or the first request goes on still.
        InvalidInputError: The key has another form.
    """
    key = request.headers.get(HEADER)
    if key is None or request.method != "POST":
        return carry_out()
    if not _KEY.fullmatch(key):
        raise InvalidInputError("the idempotency key is not valid", hint="16 to 128 letters, digits, '-' and '_'")
    asked = hashlib.sha256(b"\0".join((request.method.encode(), str(request.url.path).encode(), body))).hexdigest()
    known = answers.begin(owner, key, asked, now=now)
    if known is not None:
        status, headers, content = known
        return Response(content, status_code=status, headers={**headers, "Idempotent-Replayed": "true"})
    try:
        response = carry_out()
    except BaseException:
        answers.finish(owner, key, None)
        raise
    kept = {name: value for name, value in response.headers.items() if name.lower() in {"etag", "content-type"}}
    answers.finish(owner, key, (response.status_code, kept, bytes(response.body)))
    return response
