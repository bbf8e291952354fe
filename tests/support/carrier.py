"""Carries messages to a broker that is in this process, and does with them what it likes."""

import asyncio
from typing import Any

import httpx

FATES = ("bring", "bring", "twice", "drop", "delay", "lose the answer", "answer as before")
"""What may become of a message."""


class Carrier(httpx.BaseTransport):
    """One way to one broker.

    Args:
        app: The broker's.

    What is `carried` has reached the broker, in this order, once for each time; `late` has not yet.
    """

    def __init__(self, app: Any) -> None:
        self._way = httpx.ASGITransport(app, client=("127.0.0.1", 50000))
        self._answers: list[bytes] = []
        self.fate, self.label = "bring", ""
        self.carried: list[str] = []
        self.late: list[tuple[str, httpx.Request]] = []
        self.seen: list[tuple[str, httpx.Request]] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.seen.append((self.label, request))
        if self.fate == "answer as before" and self._answers:
            return httpx.Response(200, content=self._answers[-1])
        if self.fate in {"drop", "answer as before"}:
            raise httpx.ConnectError("dropped")
        if self.fate == "delay":
            self.late.append((self.label, request))
            raise httpx.ReadTimeout("late")
        answer = self.bring(self.label, request)
        if self.fate == "twice":
            answer = self.bring(self.label, request)
        if self.fate == "lose the answer":
            raise httpx.ReadError("lost")
        return answer

    def bring(self, label: str, request: httpx.Request) -> httpx.Response:
        """Bring a message now, perhaps again."""
        headers = {name: value for name, value in request.headers.items() if name in {"content-type", "opaque-jobs-nonce"}}

        async def sent() -> httpx.Response:
            async with httpx.AsyncClient(transport=self._way) as client:
                return await client.request(request.method, request.url, content=request.content, headers=headers)

        answer = asyncio.run(sent())
        self.carried.append(label)
        if answer.status_code == 200:
            self._answers.append(answer.content)
        return httpx.Response(answer.status_code, content=answer.content)
