"""The gate between the author's process and the engine: a gRPC server on a unix socket in front of Spark Connect.

Each request is parsed, judged by `Rules`, and only then sent on, written anew from what was judged; each answer is rebuilt
from a list. In real runs most of the engine's error texts stay here: Spark prints plans and values into them, and the owners'
row rules stand in plans.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, NoReturn

import grpc
from google._upb import _message
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2
from pyspark.sql.connect.proto import base_pb2

from opaque_jobs.enclave.agent.answers import error_words, rebuilt
from opaque_jobs.enclave.agent.gate_rules import Rules
from opaque_jobs.enclave.agent.sql_rules import RefusedError

__all__ = ["Gate"]

_SERVICE: Final = "/spark.connect.SparkConnectService/"
_UNARY: Final[dict[str, tuple[type[Message], type[Message]]]] = {
    "AnalyzePlan": (base_pb2.AnalyzePlanRequest, base_pb2.AnalyzePlanResponse),
    "Config": (base_pb2.ConfigRequest, base_pb2.ConfigResponse),
    "Interrupt": (base_pb2.InterruptRequest, base_pb2.InterruptResponse),
    "ReleaseExecute": (base_pb2.ReleaseExecuteRequest, base_pb2.ReleaseExecuteResponse),
}
_STREAM: Final[dict[str, tuple[type[Message], type[Message]]]] = {
    "ExecutePlan": (base_pb2.ExecutePlanRequest, base_pb2.ExecutePlanResponse),
    "ReattachExecute": (base_pb2.ReattachExecuteRequest, base_pb2.ExecutePlanResponse),
}
_WORDS: Final = {
    "AddArtifacts": "sending files to the engine is not allowed in a job",
    "ReleaseSession": "the session ends with the job",
}
_MAX_MESSAGE: Final = 128 * 1024 * 1024
_OPTIONS: Final = (("grpc.max_receive_message_length", _MAX_MESSAGE), ("grpc.max_send_message_length", _MAX_MESSAGE))
_message.SetAllowOversizeProtos(True)  # else a plan of some fifty steps does not parse; the engine's own limit is 1,024
_METADATA_KEPT: Final = ("classes", "errorClass", "sqlState")
_ANALYSIS: Final = '["org.apache.spark.sql.AnalysisException"]'
_STATUS_KEY: Final = "grpc-status-details-bin"


class Gate:
    """A running gate.

    Args:
        socket_path: Where the author's process finds it.
        engine_port: Connect's port on loopback.
        token: Connect's token, which the author's process never sees.
        rules: What is allowed.
        show_details: Whether the engine's errors pass whole: test runs only.
    """

    def __init__(self, *, socket_path: Path, engine_port: int, token: str, rules: Rules, show_details: bool) -> None:
        self._rules = rules
        self._show_details = show_details
        self._metadata = (("authorization", f"Bearer {token}"),)
        self._channel = grpc.insecure_channel(f"127.0.0.1:{engine_port}", options=_OPTIONS)
        self._server = grpc.server(ThreadPoolExecutor(max_workers=16, thread_name_prefix="gate"), options=_OPTIONS)
        self._server.add_generic_rpc_handlers((_Methods(self),))
        self._server.add_insecure_port(f"unix:{socket_path}")
        self._server.start()

    def close(self) -> None:
        """Stop at once; whoever is connected is cut off."""
        self._server.stop(grace=None)
        self._channel.close()

    def handler(self, path: str) -> Any:
        """Give gRPC's handler for a method."""
        name = path.removeprefix(_SERVICE)
        if name in _STREAM:
            return grpc.unary_stream_rpc_method_handler(self._streaming(name, path))
        if name in _UNARY:
            return grpc.unary_unary_rpc_method_handler(self._unary(name, path))
        words = _WORDS.get(name, "this call is not allowed in a job")
        if name == "AddArtifacts":
            return grpc.stream_unary_rpc_method_handler(lambda _requests, context: _refuse(context, words))
        return grpc.unary_unary_rpc_method_handler(lambda _request, context: _refuse(context, words))

    def _unary(self, name: str, path: str) -> Callable[[bytes, Any], bytes]:
        call = self._channel.unary_unary(path)
        request_kind, answer_kind = _UNARY[name]

        def answer(data: bytes, context: Any) -> bytes:
            request = self._judged(request_kind, data, context)
            try:
                return _answer(answer_kind, call(request, metadata=self._metadata))
            except grpc.RpcError as error:
                self._pass_on(error, context)

        return answer

    def _streaming(self, name: str, path: str) -> Callable[[bytes, Any], Iterator[bytes]]:
        call = self._channel.unary_stream(path)
        request_kind, answer_kind = _STREAM[name]

        def answer(data: bytes, context: Any) -> Iterator[bytes]:
            request = self._judged(request_kind, data, context)
            try:
                for each in call(request, metadata=self._metadata):
                    yield _answer(answer_kind, each)
            except grpc.RpcError as error:
                self._pass_on(error, context)

        return answer

    def _judged(self, kind: type[Message], data: bytes, context: Any) -> bytes:
        request = kind()
        try:
            request.ParseFromString(data)
            self._rules.check(request)
        except DecodeError:
            _refuse(context, "the request does not parse, or is nested too deeply")
        except RefusedError as refusal:
            _refuse(context, str(refusal))
        except Exception:  # noqa: BLE001 - what cannot be judged is refused, and its text stays here
            _refuse(context, "the request cannot be judged")
        return bytes(request.SerializeToString())

    def _pass_on(self, error: Any, context: Any) -> NoReturn:
        details = [value for key, value in error.trailing_metadata() or () if key == _STATUS_KEY]
        if self._show_details:
            context.set_trailing_metadata([(_STATUS_KEY, value) for value in details])
            context.abort(error.code(), error.details() or "")
        info = error_details_pb2.ErrorInfo(reason="the engine refused")
        for detail in (each for value in details for each in status_pb2.Status.FromString(value).details):
            found = error_details_pb2.ErrorInfo()
            if detail.Is(found.DESCRIPTOR) and detail.Unpack(found):
                info.metadata.update({key: found.metadata[key] for key in _METADATA_KEPT if key in found.metadata})
        _abort(context, error.code(), error_words(error.details() or "", info.metadata), info)


def _answer(kind: type[Message], data: bytes) -> bytes:
    return bytes(rebuilt(kind.FromString(data)).SerializeToString())


def _refuse(context: Any, words: str) -> NoReturn:
    info = error_details_pb2.ErrorInfo(reason="org.apache.spark.sql.AnalysisException", metadata={"classes": _ANALYSIS})
    _abort(context, grpc.StatusCode.PERMISSION_DENIED, words, info)


def _abort(context: Any, code: grpc.StatusCode, words: str, info: error_details_pb2.ErrorInfo) -> NoReturn:
    status = status_pb2.Status(code=code.value[0], message=words)
    status.details.add().Pack(info)
    context.set_trailing_metadata([(_STATUS_KEY, status.SerializeToString())])
    context.abort(code, words)
    raise AssertionError


class _Methods(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Finds the handler for each call, without Connect's generated server."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def service(self, handler_call_details: Any) -> Any:
        """Give the handler of the method that is called."""
        return self._gate.handler(handler_call_details.method)
