"""The gate's server between a client and an engine that is a gRPC server in this process."""

from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from pyspark.sql.connect.proto import base_pb2, relations_pb2

from opaque_jobs.enclave.agent.gate import Gate
from opaque_jobs.enclave.agent.gate_rules import Rules
from opaque_jobs.enclave.agent.sql_rules import Names

SERVICE = "/spark.connect.SparkConnectService/"
SESSION = "00000000-0000-4000-8000-000000000001"
SOUND = base_pb2.ExecutePlanResponse(session_id=SESSION, arrow_batch={"row_count": 2, "data": b"rows"})
ANSWER = base_pb2.ExecutePlanResponse.FromString(SOUND.SerializeToString())
ANSWER.metrics.metrics.add(name="Scan", execution_metrics={"numOutputRows": {"value": 999}})
PLAN = "[UNRESOLVED_COLUMN] no such column;\n'Project ['x]\n+- Filter (site = held back)"


class Engine(grpc.GenericRpcHandler):
    """Answers everything, or fails as Spark does; keeps what it was sent."""

    def __init__(self) -> None:
        self.seen = []
        self.tokens = []
        self.failing = False

    def service(self, handler_call_details):
        self.tokens.append(dict(handler_call_details.invocation_metadata).get("authorization"))

        def answer(data, context):
            self.seen.append(base_pb2.ExecutePlanRequest.FromString(data))
            if self.failing:
                status = status_pb2.Status(code=13, message=PLAN)
                info = error_details_pb2.ErrorInfo(
                    reason="x",
                    metadata={
                        "classes": '["org.apache.spark.sql.AnalysisException"]',
                        "errorClass": "UNRESOLVED_COLUMN",
                        "stackTrace": "Filter (site)",
                        "errorId": "1",
                    },
                )
                status.details.add().Pack(info)
                context.set_trailing_metadata([("grpc-status-details-bin", status.SerializeToString())])
                context.abort(grpc.StatusCode.INTERNAL, PLAN)
            yield ANSWER.SerializeToString()

        return grpc.unary_stream_rpc_method_handler(answer)


@pytest.fixture
def engine():
    return Engine()


def serve(engine, folder, *, show_details=False):
    server = grpc.server(ThreadPoolExecutor(max_workers=2))
    server.add_generic_rpc_handlers((engine,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    rules = Rules(Names(("people",)), lambda _text, _statement: 1 / 0, session_id=SESSION, user_id="author")
    gate = Gate(socket_path=folder / "gate.sock", engine_port=port, token="token", rules=rules, show_details=show_details)
    return server, gate, grpc.insecure_channel(f"unix:{folder / 'gate.sock'}")


@pytest.fixture
def through(engine, tmp_path):
    server, gate, channel = serve(engine, tmp_path)
    yield channel
    channel.close()
    gate.close()
    server.stop(None).wait()


def make_request(relation=None):
    request = base_pb2.ExecutePlanRequest(session_id=SESSION)
    request.user_context.user_id = "author"
    request.plan.root.CopyFrom(relation or relations_pb2.Relation(read={"named_table": {"unparsed_identifier": "people"}}))
    return request


def execute(channel, data, name="ExecutePlan"):
    return list(channel.unary_stream(SERVICE + name)(data))


def test_gate_allowed_request_reaches_the_engine_with_its_token(engine, through):
    request = make_request()

    assert execute(through, request.SerializeToString()) == [SOUND.SerializeToString()]
    assert engine.seen == [request]
    assert engine.tokens == ["Bearer token"]


def test_gate_refused_request_never_reaches_the_engine(engine, through):
    request = make_request(relations_pb2.Relation(read={"data_source": {"format": "text"}}))

    with pytest.raises(grpc.RpcError) as caught:
        execute(through, request.SerializeToString())

    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert "use the data set by its name" in caught.value.details()
    assert engine.seen == []


@pytest.mark.parametrize(
    "name", ["AddArtifacts", "CloneSession", "ReleaseSession", "FetchErrorDetails", "ArtifactStatus", "GetStatus", "New"]
)
def test_gate_call_that_is_not_listed_never_reaches_the_engine(engine, through, name):
    with pytest.raises(grpc.RpcError) as caught:
        through.unary_unary(SERVICE + name)(make_request().SerializeToString())

    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert engine.seen == []


def test_gate_bytes_that_do_not_parse_are_refused(engine, through):
    with pytest.raises(grpc.RpcError) as caught:
        execute(through, b"\xff\xff\xff")

    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert engine.seen == []


def test_gate_rule_that_breaks_refuses_and_keeps_its_words(engine, through):
    request = make_request(relations_pb2.Relation(sql={"query": "select 1"}))

    with pytest.raises(grpc.RpcError) as caught:
        execute(through, request.SerializeToString())

    assert caught.value.details() == "the request cannot be judged"
    assert engine.seen == []


def test_gate_long_chain_of_steps_passes(engine, through):
    relation = make_request().plan.root
    for _ in range(200):
        relation = relations_pb2.Relation(limit={"limit": 1, "input": relation})

    assert execute(through, make_request(relation).SerializeToString()) == [SOUND.SerializeToString()]


def test_gate_error_of_the_engine_loses_plan_and_stack_in_a_real_run(engine, through):
    engine.failing = True

    with pytest.raises(grpc.RpcError) as caught:
        execute(through, make_request().SerializeToString())

    told = str(caught.value.details()) + str(caught.value.trailing_metadata())
    assert caught.value.details() == "[UNRESOLVED_COLUMN] no such column"
    assert "UNRESOLVED_COLUMN" in told
    assert "site" not in told
    assert "errorId" not in told


def test_gate_error_of_the_engine_is_whole_in_a_test_run(engine, tmp_path):
    server, gate, channel = serve(engine, tmp_path, show_details=True)
    engine.failing = True

    with pytest.raises(grpc.RpcError) as caught:
        execute(channel, make_request().SerializeToString())

    assert caught.value.details() == PLAN
    channel.close()
    gate.close()
    server.stop(None).wait()
