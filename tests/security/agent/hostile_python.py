"""A job whose author is the adversary: each probe tries one way out and says what came of it. Runs inside the sandbox."""
# ruff: noqa: BLE001, E501, N812, PTH115, PTH123, PTH208, S108

import os
import socket

import grpc
from pyspark.sql import functions as F
from pyspark.sql.connect.proto import base_pb2, base_pb2_grpc

PROBES = {}


def probe(function):
    PROBES[function.__name__] = function
    return function


# Through Connect


@probe
def java_method_in_sql(spark):
    return spark.sql("select java_method('java.lang.System', 'getProperty', 'user.dir')").collect()


@probe
def reflect_in_expression_string(spark):
    return spark.range(1).selectExpr("reflect('java.lang.System', 'lineSeparator')").collect()


@probe
def reflect_as_function_call(spark):
    return spark.range(1).select(F.call_function("reflect", F.lit("java.lang.System"), F.lit("lineSeparator"))).collect()


@probe
def try_reflect_in_subquery(spark):
    return spark.sql("select * from people where `na me` = (select try_reflect('java.lang.System','lineSeparator'))").collect()


@probe
def reflect_under_a_registered_name(spark):
    spark.udf.register("reflect", lambda a, b: a)
    return spark.sql("select reflect('java.lang.System', 'lineSeparator')").collect()


@probe
def qualified_reflect(spark):
    return spark.sql("select system.builtin.reflect('java.lang.System', 'lineSeparator')").collect()


@probe
def read_text(spark):
    return spark.read.text("/etc/passwd").collect()


@probe
def read_parquet_of_the_data(spark):
    return spark.read.parquet("/data/people").collect()


@probe
def path_as_table_in_sql(spark):
    return spark.sql("select * from parquet.`/data/people`").collect()


@probe
def path_as_table_name(spark):
    return spark.table("parquet.`/data/people`").collect()


@probe
def path_in_identifier_clause(spark):
    return spark.sql("select * from identifier('parquet.`/data/people`')").collect()


@probe
def path_as_parameter(spark):
    return spark.sql("select * from identifier(:t)", args={"t": "parquet.`/data/people`"}).collect()


@probe
def read_by_class(spark):
    return spark.read.format("org.apache.spark.sql.execution.datasources.text.TextFileFormat").load("/etc/passwd").collect()


@probe
def read_stream(spark):
    return spark.readStream.format("rate").load().schema


@probe
def add_jar(spark):
    return spark.sql("add jar '/opt/jars/opaque-jobs.jar'").collect()


@probe
def create_function_from_class(spark):
    return spark.sql("create temporary function f as 'org.apache.hadoop.hive.ql.udf.UDFLike'").collect()


@probe
def transform_with_a_program(spark):
    return spark.sql("select transform(id) using 'cat' as x from people").collect()


@probe
def set_in_sql(spark):
    return spark.sql("set spark.sql.runSQLOnFiles=true").collect()


@probe
def set_setting(spark):
    return spark.conf.set("spark.sql.runSQLOnFiles", "true")


@probe
def read_secret_setting(spark):
    return spark.conf.get("spark.connect.authenticate.token")


@probe
def list_settings(spark):
    return spark.conf.getAll


@probe
def create_table(spark):
    return spark.sql("create table t using parquet location '/data/people'").collect()


@probe
def create_view_over_a_path(spark):
    return spark.sql("create temporary view v using parquet options (path '/data/people')").collect()


@probe
def create_external_table_by_catalog(spark):
    return spark.catalog.createTable("t", path="/data/people", source="parquet").collect()


@probe
def write_files(spark):
    return spark.range(1).write.parquet("/out/result/mine")


@probe
def insert_into_directory(spark):
    return spark.sql("insert overwrite directory '/out/x' using parquet select 1").collect()


@probe
def upload_artifact(spark):
    with open("/tmp/mine.py", "w") as file:
        file.write("x = 1")
    return spark.addArtifacts("/tmp/mine.py", pyfile=True)


@probe
def upload_jar(spark):
    with open("/tmp/mine.jar", "w") as file:
        file.write("x")
    return spark.addArtifacts("/tmp/mine.jar")


@probe
def replace_a_data_set(spark):
    return spark.range(1).createOrReplaceTempView("people")


@probe
def global_view(spark):
    return spark.range(1).createOrReplaceGlobalTempView("people")


@probe
def explain(spark):
    return spark.table("people")._explain_string() or "silent"


@probe
def input_files(spark):
    return spark.table("people").inputFiles()


@probe
def input_file_name(spark):
    return spark.table("people").select(F.input_file_name()).collect()


@probe
def metadata_column(spark):
    return spark.table("people").select(spark.table("people").metadataColumn("_metadata")).collect()


@probe
def metadata_column_in_sql(spark):
    return spark.sql("select _metadata.file_path from people").collect()


@probe
def checkpoint(spark):
    return spark.table("people").checkpoint().count()


@probe
def local_checkpoint(spark):
    return spark.table("people").localCheckpoint().count()


@probe
def xml_external_entity(spark):
    return spark.range(1).selectExpr("xpath_string('<!DOCTYPE a [<!ENTITY b SYSTEM \"file:///x\">]><a>&b;</a>', 'a')").collect()


@probe
def protobuf_descriptor_file(spark):
    from pyspark.sql.protobuf.functions import from_protobuf

    return spark.range(1).select(from_protobuf(F.lit(b"x"), "M", "/etc/passwd")).collect()


@probe
def ml_command(spark):
    from pyspark.ml.feature import VectorAssembler

    return VectorAssembler(inputCols=["id"], outputCol="v").transform(spark.range(1)).collect()


@probe
def user_defined_type_by_class(spark):
    import pyspark.sql.connect.proto as pb

    plan = pb.Plan()
    plan.root.local_relation.schema = '{"type":"struct","fields":[{"name":"a","type":{"type":"\\u0075dt","class":"java.lang.Thread","sqlType":"long"},"nullable":true,"metadata":{}}]}'
    return send(spark, plan)


@probe
def second_session(spark):
    import pyspark.sql.connect.proto as pb

    plan = pb.Plan()
    plan.root.range.end = 1
    plan.root.range.step = 1
    return send(spark, plan, session_id="00000000-0000-4000-8000-0000000000ff")


@probe
def another_user(spark):
    import pyspark.sql.connect.proto as pb

    plan = pb.Plan()
    plan.root.range.end = 1
    plan.root.range.step = 1
    return send(spark, plan, user_id="agent")


@probe
def unknown_field(spark):
    import pyspark.sql.connect.proto as pb

    plan = pb.Plan()
    plan.root.range.end = 1
    plan.root.range.step = 1
    request = base_pb2.ExecutePlanRequest.FromString(execute(spark, plan).SerializeToString() + b"\xfa\x3f\x02hi")
    return list(stub().ExecutePlan(request))


@probe
def clone_session(spark):
    request = base_pb2.CloneSessionRequest(session_id=spark.session_id)
    return stub().CloneSession(request)


@probe
def undeclared_column(spark):
    return spark.table("people").select("unseen").collect()


@probe
def undeclared_column_by_order(spark):
    return spark.table("people").orderBy("unseen").collect()


@probe
def undeclared_column_by_regex(spark):
    return spark.table("people").select(spark.table("people").colRegex("`uns.*`")).collect()[0]["unseen"]


@probe
def unknown_table(spark):
    return spark.table("other").collect()


@probe
def gateway_in_the_client(spark):
    return spark._jvm


# Around Connect


@probe
def own_environment_has_secrets(spark):
    leaked = [name for name in os.environ if "TOKEN" in name or "SECRET" in name or "GATEWAY" in name]
    if not leaked:
        raise PermissionError("none")
    return leaked


@probe
def memory_of_another_process(spark):
    others = [pid for pid in os.listdir("/proc") if pid.isdigit() and int(pid) != os.getpid()]
    opened = []
    for pid in others:
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                if b"java" in file.read() or b"PYSPARK_DRIVER" in file.read():
                    opened.append(pid)
        except OSError:
            continue
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            if b"java" in file.read():
                opened.append(pid)
    if not opened:
        raise PermissionError("no engine among the processes")
    return opened


@probe
def read_data_folder(spark):
    return os.listdir("/data")


@probe
def read_out_folder(spark):
    return os.listdir("/out")


@probe
def read_scratch_folder(spark):
    return os.listdir("/scratch")


@probe
def read_agent_code(spark):
    return os.listdir("/opt/agent")


@probe
def network_socket(spark):
    return socket.socket(socket.AF_INET)


@probe
def loopback_of_the_engine(spark):
    return socket.create_connection(("127.0.0.1", 15002), timeout=1)


@probe
def abstract_unix_socket(spark):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect("\0engine")


@probe
def new_namespace(spark):
    import ctypes

    if ctypes.CDLL(None, use_errno=True).unshare(0x10000000) != 0:
        raise PermissionError(ctypes.get_errno())


@probe
def write_outside(spark):
    with open("/usr/bin/mine", "w") as file:
        return file.write("x")


@probe
def inherited_descriptors(spark):
    kinds = [os.readlink(f"/proc/self/fd/{each}") for each in os.listdir("/proc/self/fd") if int(each) == 3]
    if not any("socket" in kind for kind in kinds):
        raise PermissionError("the control socket is not here")
    return kinds


# In a function on the engine's side


def in_udf(spark, function):
    return spark.range(1).select(F.udf(function, "string")("id")).collect()[0][0]


@probe
def udf_reads_data(spark):
    return in_udf(spark, lambda _: str(__import__("os").listdir("/data")))


@probe
def udf_reads_out(spark):
    return in_udf(spark, lambda _: str(__import__("os").listdir("/out")))


@probe
def udf_opens_network(spark):
    return in_udf(spark, lambda _: str(__import__("socket").socket(__import__("socket").AF_INET)))


@probe
def udf_sees_the_engine(spark):
    def look(_):
        import os

        found = []
        for pid in os.listdir("/proc"):
            if pid.isdigit():
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    line = file.read()
                if b"java" in line or b"enclave.agent" in line:
                    found.append(line.decode(errors="replace"))
        if not found:
            raise PermissionError("no engine among the processes")
        return str(found)

    return in_udf(spark, look)


@probe
def udf_reaches_the_gate(spark):
    return in_udf(spark, lambda _: str(__import__("os").listdir("/gate")))


@probe
def udf_is_privileged(spark):
    def look(_):
        with open("/proc/self/status") as file:
            caps = next(line for line in file if line.startswith("CapEff"))
        if int(caps.split()[1], 16) == 0:
            raise PermissionError("no capabilities")
        return caps

    return in_udf(spark, look)


def stub():
    return base_pb2_grpc.SparkConnectServiceStub(grpc.insecure_channel("unix:/gate/gate.sock"))


def execute(spark, plan, *, session_id=None, user_id="author"):
    request = base_pb2.ExecutePlanRequest(session_id=session_id or spark.session_id, plan=plan)
    request.user_context.user_id = user_id
    return request


def send(spark, plan, **over):
    return list(stub().ExecutePlan(execute(spark, plan, **over)))


def main(spark, inputs, params):
    found = []
    for name, attempt in PROBES.items():
        try:
            outcome, detail = "reached", repr(attempt(spark))[:300]
        except BaseException as error:
            outcome, detail = "refused", f"{type(error).__name__}: {error}"[:300]
        found.append((name, outcome, detail))
    return spark.createDataFrame(found, "name string, outcome string, detail string")
