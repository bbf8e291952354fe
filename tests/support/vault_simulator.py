"""A key server for tests: the documented HTTP API of Vault's transit engine, as far as it is used, over real sockets.

It really signs and encrypts. Answers, errors and their codes are those of the API documentation; no real server was compared.
"""

import base64
import json
import os
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

TOKEN = "hvs.CAESIJ-a-token-of-tests"
MOUNT = "transit"


@dataclass
class Key:
    """A named key with its versions, by number from 1."""

    type: str
    versions: list[bytes] = field(default_factory=lambda: [os.urandom(32)])


@dataclass
class VaultSimulator:
    """Serves on a free loopback port while entered.

    Args:
        tokens: Token -> whether it is still valid.
        sealed: Answer everything with 503.
        denied: Operations (`keys`, `sign`, ...) that the policy does not allow.
        lies: Operation -> what to answer instead.
    """

    tokens: dict[str, bool] = field(default_factory=lambda: {TOKEN: True})
    keys: dict[str, Key] = field(default_factory=dict)
    sealed: bool = False
    denied: set[str] = field(default_factory=set)
    lies: dict[str, Any] = field(default_factory=dict)
    redirect_to: str = ""
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    def __enter__(self) -> Self:
        simulator = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer("GET")

            def do_POST(self) -> None:
                self._answer("POST")

            def do_PUT(self) -> None:
                self._answer("POST")

            def log_message(self, *_arguments: object) -> None:
                pass

            def _answer(self, method: str) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length) or b"{}")
                simulator.requests.append((method, self.path, dict(self.headers)))
                if simulator.redirect_to:
                    self.send_response(307)
                    self.send_header("Location", simulator.redirect_to + self.path)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                status, document = simulator.answer(method, self.path, self.headers.get("X-Vault-Token", ""), body)
                data = b"" if document is None else json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def answer(self, method: str, path: str, token: str, body: dict[str, Any]) -> tuple[int, Any]:
        """Give status and document for a request."""
        if self.sealed:
            return 503, {"errors": ["Vault is sealed"]}
        if not self.tokens.get(token):
            return 403, {"errors": ["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}
        parts = path.strip("/").split("/")
        if parts[:2] != ["v1", MOUNT] or len(parts) < 4:
            return 404, {"errors": [f"no handler for route {path!r}"]}
        operation, name = parts[2], parts[3]
        if operation in self.denied:
            return 403, {"errors": ["1 error occurred:\n\t* permission denied\n\n"]}
        if operation in self.lies:
            return 200, self.lies[operation]
        act = getattr(self, f"_{method.lower()}_{operation}", None)
        return act(name, body, parts[4:]) if act else (404, {"errors": ["unsupported path"]})

    def _post_keys(self, name: str, body: dict[str, Any], rest: list[str]) -> tuple[int, Any]:
        if rest == ["rotate"]:
            self.keys[name].versions.append(os.urandom(32))
            return 204, None
        if body.get("type") not in {"ed25519", "aes256-gcm96"}:
            return 400, {"errors": [f"unknown key type {body.get('type')}"]}
        self.keys.setdefault(name, Key(type=body["type"]))
        return 204, None

    def _get_keys(self, name: str, _body: dict[str, Any], _rest: list[str]) -> tuple[int, Any]:
        key = self.keys.get(name)
        if key is None:
            return 404, {"errors": []}
        shown = {
            str(number): {"public_key": _b64(_public(seed)), "name": "ed25519", "creation_time": "2026-01-01T00:00:00Z"}
            if key.type == "ed25519"
            else 1767225600
            for number, seed in enumerate(key.versions, 1)
        }
        return 200, {"data": {"name": name, "type": key.type, "keys": shown, "latest_version": len(key.versions)}}

    def _post_sign(self, name: str, body: dict[str, Any], _rest: list[str]) -> tuple[int, Any]:
        key = self.keys.get(name)
        if key is None:
            return 400, {"errors": ["signing key not found"]}
        number = int(body.get("key_version") or len(key.versions))
        signature = Ed25519PrivateKey.from_private_bytes(key.versions[number - 1]).sign(base64.b64decode(body["input"]))
        return 200, {"data": {"signature": f"vault:v{number}:{_b64(signature)}", "key_version": number}}

    def _post_encrypt(self, name: str, body: dict[str, Any], _rest: list[str]) -> tuple[int, Any]:
        key = self.keys.get(name)
        if key is None:
            return 400, {"errors": ["encryption key not found"]}
        number = int(body.get("key_version") or len(key.versions))
        nonce, bound = os.urandom(12), base64.b64decode(body.get("associated_data") or "")
        sealed = nonce + AESGCM(key.versions[number - 1]).encrypt(nonce, base64.b64decode(body["plaintext"]), bound)
        return 200, {"data": {"ciphertext": f"vault:v{number}:{_b64(sealed)}", "key_version": number}}

    def _post_decrypt(self, name: str, body: dict[str, Any], _rest: list[str]) -> tuple[int, Any]:
        key = self.keys.get(name)
        if key is None:
            return 400, {"errors": ["encryption key not found"]}
        try:
            _, version, text = body["ciphertext"].split(":")
            raw, bound = base64.b64decode(text, validate=True), base64.b64decode(body.get("associated_data") or "")
            plain = AESGCM(key.versions[int(version.removeprefix("v")) - 1]).decrypt(raw[:12], raw[12:], bound)
        except (ValueError, IndexError):
            return 400, {"errors": ["invalid ciphertext: could not decode base64"]}
        except InvalidTag:
            return 400, {"errors": ["cipher: message authentication failed"]}
        return 200, {"data": {"plaintext": _b64(plain)}}


def _public(seed: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def _b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
