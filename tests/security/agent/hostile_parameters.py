"""A job that hides SQL in the values of parameters, in every form that Connect knows. Runs inside the sandbox."""
# ruff: noqa: N812

import datetime as dt
import decimal

import grpc
import pyspark.sql.connect.proto as pb
from pyspark.sql import functions as F
from pyspark.sql.connect.proto import base_pb2, base_pb2_grpc
from pyspark.sql.connect.proto import expressions_pb2 as ex

QUERY = "with a as (select :p as x) select * from a"
POSITIONAL = "with a as (select ? as x) select * from a"
STOLEN = [
    "a', 1)) insert overwrite directory '/out/stolen' using csv select * from people -- ",
    "a`, 1)) insert overwrite directory '/out/stolen' using csv select * from people -- ",
    'a", 1)) insert overwrite directory "/out/stolen" using csv select * from people -- ',
    "a\\', 1)) insert overwrite directory '/out/stolen' using csv select * from people -- ",
    "a', 1) as x) select transform(id) using '/bin/sh' as x from people -- ",
    "a') as x) insert overwrite directory '/out/stolen' using csv select * from people -- ",
    "a' as x) insert overwrite directory '/out/stolen' using csv select * from people /*",
    "*/ a') as x) insert overwrite directory '/out/stolen' using csv select * from people -- ",
    "a\n', 1)) insert overwrite directory '/out/stolen' using csv select * from people -- ",
    "\u2019 a', 1)) insert overwrite directory '/out/stolen' using csv select * from people -- ",
]


HARDEST = {
    "named struct",
    "positional typed_struct",
    "named named_struct",
    "named map_with_key",
    "older map array_of_struct",
    "named string",
}


def text(value):
    return ex.Expression.Literal(string=value)


def kind_of(name):
    kind = pb.DataType()
    kind.struct.fields.add(name=name, nullable=True).data_type.string.SetInParent()
    return kind


def struct(name, value="v"):
    literal = ex.Expression.Literal()
    literal.struct.struct_type.CopyFrom(kind_of(name))
    literal.struct.elements.append(text(value))
    return literal


def typed_struct(name):
    literal = ex.Expression.Literal(data_type=kind_of(name))
    literal.struct.elements.append(text("v"))
    return literal


def null_struct(name):
    return ex.Expression.Literal(null=kind_of(name))


def array_of_struct(name):
    literal = ex.Expression.Literal()
    literal.array.element_type.CopyFrom(kind_of(name))
    literal.array.elements.append(struct(name))
    return literal


def empty_array_of_struct(name):
    literal = ex.Expression.Literal()
    literal.array.element_type.CopyFrom(kind_of(name))
    return literal


def map_of_struct(name):
    literal = ex.Expression.Literal()
    literal.map.key_type.string.SetInParent()
    literal.map.value_type.CopyFrom(kind_of(name))
    literal.map.keys.append(text("k"))
    literal.map.values.append(struct(name))
    return literal


def map_with_key(name):
    literal = ex.Expression.Literal()
    literal.map.key_type.string.SetInParent()
    literal.map.value_type.string.SetInParent()
    literal.map.keys.append(text(name))
    literal.map.values.append(text("v"))
    return literal


def decimal_of(value):
    literal = ex.Expression.Literal()
    literal.decimal.value = value
    return literal


def collated(name):
    literal = text("v")
    literal.data_type.string.collation = name
    return literal


LITERALS = {
    "string": text, "struct": struct, "struct_value": lambda name: struct("a", name), "typed_struct": typed_struct,
    "null_struct": null_struct, "array_of_struct": array_of_struct, "empty_array_of_struct": empty_array_of_struct,
    "map_of_struct": map_of_struct, "map_with_key": map_with_key, "decimal": decimal_of, "collated": collated,
    "binary": lambda name: ex.Expression.Literal(binary=name.encode()),
}  # fmt: skip


def call(function, *arguments):
    expression = ex.Expression()
    expression.unresolved_function.function_name = function
    for argument in arguments:
        expression.unresolved_function.arguments.add().literal.CopyFrom(argument)
    return expression


def alias(name):
    expression = ex.Expression()
    expression.alias.expr.literal.CopyFrom(text("v"))
    expression.alias.name.append(name)
    return expression


EXPRESSIONS = {
    **{name: lambda value, make=make: ex.Expression(literal=make(value)) for name, make in LITERALS.items()},
    "named_struct": lambda name: call("named_struct", text(name), text("v")),
    "struct_call": lambda name: call("struct", struct(name)),
    "array_call": lambda name: call("array", struct(name)),
    "map_call": lambda name: call("map", text(name), struct(name)),
    "map_from_arrays": lambda name: call("map_from_arrays", array_of_struct(name), array_of_struct(name)),
    "function_name": call,
    "other_function": lambda _name: call("reflect", text("java.lang.System"), text("lineSeparator")),
    "alias": alias,
    "text": lambda name: ex.Expression(expression_string=ex.Expression.ExpressionString(expression=name)),
    "attribute": lambda name: ex.Expression(unresolved_attribute=ex.Expression.UnresolvedAttribute(unparsed_identifier=name)),
}


def forms(name):
    """Give every message that carries the name beside the SQL text."""
    for kind, make in EXPRESSIONS.items():
        yield f"named {kind}", pb.SQL(query=QUERY, named_arguments={"p": make(name)})
        yield f"positional {kind}", pb.SQL(query=POSITIONAL, pos_arguments=[make(name)])
    for kind, make in LITERALS.items():
        yield f"older map {kind}", pb.SQL(query=QUERY, args={"p": make(name)})
        yield f"older list {kind}", pb.SQL(query=POSITIONAL, pos_args=[make(name)])
    yield "parameter's name", pb.SQL(query=QUERY, named_arguments={name: EXPRESSIONS["string"]("v")})


def plans(sql):
    """Give the ways in which a SQL message is sent."""
    command = pb.Plan()
    command.command.sql_command.input.sql.CopyFrom(sql)
    yield "command", command
    older = pb.Plan()
    older.command.sql_command.sql = sql.query
    for field in ("args", "pos_args", "named_arguments", "pos_arguments"):
        getattr(older.command.sql_command, field).MergeFrom(getattr(sql, field))
    yield "older command", older
    relation = pb.Plan()
    relation.root.sql.CopyFrom(sql)
    yield "relation", relation


def send(spark, plan):
    stub = base_pb2_grpc.SparkConnectServiceStub(grpc.insecure_channel("unix:/gate/gate.sock"))
    request = base_pb2.ExecutePlanRequest(session_id=spark.session_id, plan=plan)
    request.user_context.user_id = "author"
    return sum(answer.arrow_batch.row_count for answer in stub.ExecutePlan(request))


def hostile(spark):
    for number, name in enumerate(STOLEN):
        for form, sql in forms(name):
            for way, plan in plans(sql):
                if number and not (way == "command" and form in HARDEST):
                    continue
                try:
                    outcome, detail = "done", str(send(spark, plan))
                except grpc.RpcError as error:
                    outcome, detail = "refused", str(error.details())
                yield f"{way}, {form}, {number}", outcome, detail[:200]


VALUES = {
    "text": "it's \\ \"here\" `a` %_ \n :p ? -- /*", "whole": 7, "negative": -(2**31), "large": 2**40, "smallest": -(2**63),
    "number": -1.5e-7, "infinite": float("-inf"), "decimal": decimal.Decimal("-12.340"), "yes": True, "nothing": None,
    "bytes": b"\x00'ab", "day": dt.date(2024, 2, 29), "early": dt.date(1, 1, 1), "list": [1, 2, 3],
    "moment": dt.datetime(2024, 2, 29, 1, 2, 3, 456789, tzinfo=dt.UTC),
    "span": dt.timedelta(days=-3, microseconds=5),
}  # fmt: skip


def honest(spark):
    for name, value in VALUES.items():
        row = spark.sql("select :p as p, ':p ?' as q /* :p */", args={"p": value}).collect()[0]
        # Spark gives a moment back in the local zone, without one
        found = row["p"].replace(tzinfo=dt.UTC) if name == "moment" else row["p"]
        yield f"named {name}", str(found == value and row["q"] == ":p ?"), str(found)
        row = spark.sql("select ? as p, '?' as q", args=[value]).collect()[0]
        found = row["p"].replace(tzinfo=dt.UTC) if name == "moment" else row["p"]
        yield f"positional {name}", str(found == value), str(found)
    structs = F.array(F.named_struct(F.lit("b"), F.lit(1)), F.named_struct(F.lit("b"), F.lit(2)))
    row = spark.sql("select :m['k'] m, :a[1].b a", args={"m": F.create_map(F.lit("k"), F.lit(1)), "a": structs}).collect()[0]
    yield "map and array of struct", str((row["m"], row["a"]) == (1, 2)), ""
    row = spark.sql("select count(*) n from {frame} where id > :low", args={"low": 1}, frame=spark.table("people")).collect()[0]
    yield "frame by name", str(row["n"] == 2), ""
    rows = spark.sql("select id from people where id > ? limit ?", args=[1, 1]).collect()
    yield "in a query", str(len(rows) == 1), ""


def main(spark, inputs, params):
    found = [("hostile", *each) for each in hostile(spark)] + [("honest", *each) for each in honest(spark)]
    return spark.createDataFrame(found, "what string, name string, outcome string, detail string")
