"""A job that sends the engine Arrow data with lengths and offsets of its choice: from the client, and from its Python workers."""
# ruff: noqa: BLE001, N812, PTH103, PTH108, PTH110, PTH208, PTH211

import json
import os

import grpc
import pyspark.sql.connect.proto as pb
from pyspark.sql import functions as F
from pyspark.sql.connect.proto import base_pb2, base_pb2_grpc

TEXT = "abcdefgh" * 8
ALPHABET = set(TEXT)
OFFSETS = {
    "behind the end": [0, 4096], "far behind": [0, 2**31 - 1], "before the start": [-64, 4], "both before": [-4096, -1],
    "falling": [40, 0], "start behind": [4096, 4100], "negative end": [0, -1], "one too far": [0, 65 + 7],
}  # fmt: skip
FORMS = {
    **{f"string {name}": ("string", offsets) for name, offsets in OFFSETS.items()},
    **{f"large {name}": ("large_string", offsets) for name, offsets in OFFSETS.items()},
    "large 64 bits": ("large_string", [0, 2**40]),
    "large negative 64 bits": ("large_string", [-(2**40), 4]),
    **{f"binary {name}": ("binary", offsets) for name, offsets in OFFSETS.items()},
    **{f"list {name}": ("list", offsets) for name, offsets in OFFSETS.items()},
    **{f"list of string {name}": ("list_of_string", offsets) for name, offsets in OFFSETS.items()},
    **{f"struct of string {name}": ("struct_of_string", offsets) for name, offsets in OFFSETS.items()},
    **{f"map {name}": ("map", offsets) for name, offsets in OFFSETS.items()},
    **{form: (form, None) for form in ("string_view", "dictionary", "lz4", "zstd", "rows", "short_buffer", "no_buffer")},
}


HONEST = ("string", "large_string", "binary", "list", "list_of_string", "struct_of_string", "map")


def stream(form, offsets, *, worker):
    """Write a sound stream of one column, then put what is asked for in its place. Workers send a struct of the columns."""
    import pyarrow as pa

    whole = [[1] * 64]
    made = {
        "string": lambda: pa.array([TEXT]),
        "large_string": lambda: pa.array([TEXT], pa.large_string()),
        "binary": lambda: pa.array([TEXT.encode()]),
        "list": lambda: pa.array(whole),
        "list_of_string": lambda: pa.array([[TEXT]]),
        "struct_of_string": lambda: pa.array([{"a": TEXT}]),
        "map": lambda: pa.array([[(n, n) for n in range(64)]], pa.map_(pa.int64(), pa.int64())),
        "string_view": lambda: pa.array([TEXT], pa.string_view()),
        "dictionary": lambda: pa.array([TEXT]).dictionary_encode(),
        "lz4": lambda: pa.array([TEXT]),
        "zstd": lambda: pa.array([TEXT]),
    }.get(form, lambda: pa.array([7]))()
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=form if form in {"lz4", "zstd"} else None)
    table = pa.table({"_0": pa.StructArray.from_arrays([made], names=["x"])} if worker else {"x": made})
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    data = bytearray(sink.getvalue().to_pybytes())
    if offsets is not None:
        width = 8 if form == "large_string" else 4
        own = (0).to_bytes(width, "little") + (64).to_bytes(width, "little")
        place = data.rindex(own)
        data[place : place + 2 * width] = b"".join(each.to_bytes(width, "little", signed=True) for each in offsets)
    if form in {"rows", "short_buffer"}:
        # One row becomes a million: for the batch, for its field, or both
        one, many = (1).to_bytes(8, "little"), (1_000_000).to_bytes(8, "little")
        data = data.replace(one, many)
    if form == "no_buffer":
        data = data.replace((8).to_bytes(8, "little"), (0).to_bytes(8, "little"))
    return bytes(data)


def from_client(spark, data):
    plan = pb.Plan()
    plan.root.local_relation.data = data
    stub = base_pb2_grpc.SparkConnectServiceStub(grpc.insecure_channel("unix:/gate/gate.sock"))
    request = base_pb2.ExecutePlanRequest(session_id=spark.session_id, plan=plan)
    request.user_context.user_id = "author"
    return b"".join(answer.arrow_batch.data for answer in stub.ExecutePlan(request)).hex()


def from_worker(spark, data, kind):
    """Let a function's own worker answer with these bytes."""

    def hostile(_batches):
        import pyarrow as pa

        class Writer:
            def __init__(self, out, _schema):
                out.write(data)

            def write_batch(self, _batch):
                pass

            def close(self):
                pass

        pa.RecordBatchStreamWriter = Writer
        yield pa.record_batch({"x": pa.nulls(1, ARROW_KINDS[kind]())})

    rows = spark.range(1, numPartitions=1).mapInArrow(hostile, f"x {kind}").collect()
    return json.dumps([str(row["x"]) for row in rows])


KINDS = {"binary": "binary", "list": "array<bigint>", "list_of_string": "array<string>", "struct_of_string": "struct<a:string>",
         "map": "map<bigint,bigint>", "rows": "bigint", "short_buffer": "bigint", "no_buffer": "bigint"}  # fmt: skip


def arrow_kinds():
    import pyarrow as pa

    return {
        "string": pa.string, "binary": pa.binary, "bigint": pa.int64, "array<bigint>": lambda: pa.list_(pa.int64()),
        "array<string>": lambda: pa.list_(pa.string()), "struct<a:string>": lambda: pa.struct([("a", pa.string())]),
        "map<bigint,bigint>": lambda: pa.map_(pa.int64(), pa.int64()),
    }  # fmt: skip


ARROW_KINDS = arrow_kinds()


def in_worker(function):
    def run(_):
        try:
            return f"reached {function()}"
        except Exception as error:
            return f"refused {type(error).__name__}: {error}"

    return run


def sockets_folder():
    return os.listdir(os.environ["PYTHON_WORKER_FACTORY_SOCK_DIR"])


def replace_the_socket():
    import socket

    folder = os.environ["PYTHON_WORKER_FACTORY_SOCK_DIR"]
    name = os.environ["OPAQUE_JOBS_UDF_SOCKET"]
    path = f"{folder}/.{name}.sock"
    if os.path.exists(path):
        os.unlink(path)
    mine = socket.socket(socket.AF_UNIX)
    mine.bind(path)
    return "bound"


def link_the_socket():
    folder = os.environ["PYTHON_WORKER_FACTORY_SOCK_DIR"]
    os.symlink("/gate/gate.sock", f"{folder}/.{os.environ['OPAQUE_JOBS_UDF_SOCKET']}.sock")
    return "linked"


def make_the_folder():
    folder = os.environ["PYTHON_WORKER_FACTORY_SOCK_DIR"]
    os.makedirs(folder)
    return "made"


SOCKETS = (sockets_folder, replace_the_socket, link_the_socket, make_the_folder)


def main(spark, inputs, params):
    found = []
    sound = {f"honest {form}": (form, None) for form in HONEST}
    for name, (form, offsets) in {**FORMS, **sound}.items():
        for way in ("client", "worker"):
            data = stream(form, offsets, worker=way == "worker")
            try:
                kind = KINDS.get(form, "string")
                outcome, detail = "reached", from_client(spark, data) if way == "client" else from_worker(spark, data, kind)
            except BaseException as error:
                outcome, detail = "refused", str(getattr(error, "details", lambda: None)() or error)
            found.append((f"{name}: {way}" if name in sound else f"{way}: {name}", outcome, detail[:3000]))
    for function in SOCKETS:
        answer = spark.range(1).select(F.udf(in_worker(function), "string")("id")).collect()[0][0]
        found.append((f"socket: {function.__name__}", *answer.partition(" ")[::2]))
    count = spark.range(1, numPartitions=1).mapInArrow(lambda batches: batches, "id bigint").count()
    found.append(("honest: worker after all", "reached", str(count)))
    return spark.createDataFrame(found, "name string, outcome string, detail string")
