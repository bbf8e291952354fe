"""A job that reads every answer of the engine raw, and looks for what its owner holds back. Runs inside the sandbox."""

import grpc
from pyspark.sql.connect.proto import base_pb2, base_pb2_grpc

SERVICE = base_pb2_grpc.SparkConnectServiceStub(grpc.insecure_channel("unix:/gate/gate.sock"))
QUERIES = {
    "all": "select * from people",
    "count": "select count(*) as n from people",
    "sorted": "select id from people order by id",
    "joined": "select a.id from people a join people b on a.id = b.id",
    "view": "create or replace temporary view mine as select * from people",
}
FAILING = {
    "divide": "select 1 div (id - 1) as x from people",
    "cast": "select cast(name as int) as x from people",
    "raised": "select raise_error(name) from people",
    "asserted": "select assert_true(id > 5, concat('seen ', name)) from people",
    "element": "select element_at(array(id), 9) from people",
    "parsed": "select to_timestamp(name, 'yyyy') from people",
    "column": "select site from people",
    "type": "select id + array(name) as x from people",
    "function": "select no_such(id) from people",
    "grammar": "select from where",
    "subquery": "select (select id from people) as x",
    "grouped": "select id, count(*) from people",
}


def named(message, kind, **fields):
    made = kind(session_id=message.session_id, **fields)
    made.user_context.user_id = "author"
    return made


def fields(message, prefix=""):
    """Give the names of all fields that are set, at every depth but inside types and rows."""
    for field, value in message.ListFields():
        name = f"{prefix}{field.name}"
        yield name
        if field.message_type is None or field.message_type.name in {"DataType", "Relation"}:
            continue
        held = value.values() if field.message_type.GetOptions().map_entry else value
        for each in [value] if hasattr(value, "ListFields") else held:
            yield from fields(each, f"{name}.") if hasattr(each, "ListFields") else ()


def plans(query):
    command = base_pb2.Plan()
    command.command.sql_command.input.sql.query = query
    root = base_pb2.Plan()
    root.root.sql.query = query
    return {"command": command, "relation": root}


def analyses(spark, plan):
    for kind in base_pb2.AnalyzePlanRequest.DESCRIPTOR.oneofs_by_name["analyze"].fields:
        request = named(spark, base_pb2.AnalyzePlanRequest)
        part = getattr(request, kind.name)
        part.SetInParent()
        for field in ("plan", "target_plan", "other_plan"):
            if field in part.DESCRIPTOR.fields_by_name:
                getattr(part, field).CopyFrom(plan)
        if "relation" in part.DESCRIPTOR.fields_by_name:
            part.relation.CopyFrom(plan.root)
        yield kind.name, request


def main(spark, inputs, params):
    found = []

    def note(name, call):
        try:
            answer = call()
            for each in answer if hasattr(answer, "__next__") else [answer]:
                found.extend((name, "field", field) for field in fields(each))
                found.append((name, "text", str(each)))
        except grpc.RpcError as error:
            found.append((name, "error", f"{error.details()} {error.trailing_metadata()} {error.initial_metadata()}"))

    def execute(name, plan):
        note(name, lambda: SERVICE.ExecutePlan(named(spark, base_pb2.ExecutePlanRequest, plan=plan)))

    for name, query in {**QUERIES, **FAILING}.items():
        for way, plan in plans(query).items():
            execute(f"{way} {name}", plan)
    for name, query in QUERIES.items():
        for kind, request in analyses(spark, plans(query)["relation"]):
            note(f"analyze {kind} {name}", lambda request=request: SERVICE.AnalyzePlan(request))
    execute("long", plans("select sum(a.id * b.id) from people a cross join range(3000000) b")["relation"])
    return spark.createDataFrame(found, "name string, what string, detail string")
