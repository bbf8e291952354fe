"""Values beside SQL text are written into it before it is judged, without Spark."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql.connect.proto import base_pb2, commands_pb2, expressions_pb2, relations_pb2

from opaque_jobs.enclave.agent.gate_rules import Rules
from opaque_jobs.enclave.agent.schema_rules import RefusedError
from opaque_jobs.enclave.agent.sql_job import bound, string_literal
from opaque_jobs.enclave.agent.sql_parameters import write_parameters
from opaque_jobs.enclave.agent.sql_rules import Names

SESSION = "00000000-0000-4000-8000-000000000001"
SELECT = {"n": "Project", "a": [[], {"n": "UnresolvedRelation", "a": [["people"], [], None]}]}
Literal = expressions_pb2.Expression.Literal


def named(**fields) -> relations_pb2.SQL:
    expression = expressions_pb2.Expression(literal=Literal(**fields))
    return relations_pb2.SQL(query="select :p", named_arguments={"p": expression})


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"string": "a'b\\"}, "'a\\'b\\\\'"),
        ({"integer": -5}, "(-5)"),
        ({"long": -(2**63)}, "(-9223372036854775807L - 1L)"),
        ({"short": 3}, "(3S)"),
        ({"double": float("nan")}, "CAST('nan' AS DOUBLE)"),
        ({"boolean": True}, "TRUE"),
        ({"binary": b"'"}, "X'27'"),
        ({"date": 0}, "DATE '1970-01-01'"),
        ({"timestamp": -1}, "timestamp_micros(-1L)"),
        ({"decimal": {"value": "-1.50", "precision": 10}}, "CAST('-1.50' AS DECIMAL(10, 2))"),
        ({"array": {"elements": [Literal(integer=1), Literal(string="'")]}}, "array((1), '\\'')"),
        ({"map": {"keys": [Literal(string="k")], "values": [Literal(integer=1)]}}, "map('k', (1))"),
    ],
)
def test_parameter_plain_value_becomes_its_literal(fields, text):
    message = named(**fields)

    write_parameters(message)

    assert message.query == f"select {text}"
    assert not message.named_arguments


def test_parameter_field_name_of_a_struct_is_quoted():
    literal = Literal()
    literal.struct.struct_type.struct.fields.add(name="a', 1)) insert --")
    literal.struct.elements.add(integer=1)
    message = relations_pb2.SQL(query="select ?", pos_args=[literal])

    write_parameters(message)

    assert message.query == "select named_struct('a\\', 1)) insert --', (1))"


@pytest.mark.parametrize(
    "fields", [{"decimal": {"value": "1) from"}}, {"calendar_interval": {"days": 1}}, {"time": {"nano": 1}}, {}, {"null": {}}]
)
def test_parameter_of_another_kind_is_refused(fields):
    message = named(**fields)
    if "null" in fields:
        write_parameters(message)
        assert message.query == "select NULL"
        return

    with pytest.raises(RefusedError):
        write_parameters(message)


def test_parameter_expression_that_is_no_value_is_refused():
    call = expressions_pb2.Expression()
    call.unresolved_function.function_name = "reflect"

    with pytest.raises(RefusedError):
        write_parameters(relations_pb2.SQL(query="select :p", named_arguments={"p": call}))


def test_parameter_nested_too_deeply_is_refused():
    literal = Literal(integer=1)
    for _ in range(40):
        literal = Literal(array={"elements": [literal]})

    with pytest.raises(RefusedError):
        write_parameters(relations_pb2.SQL(query="select :p", args={"p": literal}))


def test_parameters_never_reach_the_engine_in_any_message():
    seen = []
    rules = Rules(
        Names(("people",)), lambda text, _statement: (seen.append(text), SELECT)[1], session_id=SESSION, user_id="author"
    )
    request = base_pb2.ExecutePlanRequest(session_id=SESSION)
    request.user_context.user_id = "author"
    value = Literal(string="x")
    request.plan.command.sql_command.CopyFrom(commands_pb2.SqlCommand(sql="select :a, ?", args={"a": value}, pos_args=[value]))
    request.plan.command.sql_command.input.sql.CopyFrom(
        relations_pb2.SQL(query="select ?", pos_arguments=[expressions_pb2.Expression(literal=value)])
    )

    rules.check(request)

    command = request.plan.command.sql_command
    assert [command.sql, command.input.sql.query] == ["select 'x', 'x'", "select 'x'"]
    assert set(seen) == {"select 'x', 'x'", "select 'x'"}
    assert not (command.args)
    assert not (command.pos_args)
    assert not (command.input.sql.pos_arguments)


@pytest.mark.parametrize("alias", ["people", "PEOPLE", "a.b", "", "`people`"])
def test_frame_that_takes_a_data_sets_name_in_sql_is_refused(alias):
    rules = Rules(Names(("people",)), lambda _text, _statement: SELECT, session_id=SESSION, user_id="author")
    request = base_pb2.ExecutePlanRequest(session_id=SESSION)
    request.user_context.user_id = "author"
    frame = request.plan.root.with_relations
    frame.root.sql.query = "select * from people"
    reference = frame.references.add()
    reference.subquery_alias.alias = alias
    reference.subquery_alias.input.range.end = 1

    with pytest.raises(RefusedError):
        rules.check(request)


@given(st.text())
def test_string_literal_holds_no_end_of_its_own(text):
    inside = string_literal(text)[1:-1]

    assert "'" not in inside.replace("\\\\", "").replace("\\'", "")
    assert inside.replace("\\\\", "\0").replace("\\'", "'").replace("\0", "\\") == text or "\0" in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("select :a, ':a', \":a\", `:a` -- :a\n, :b /* :a */", "select 1, ':a', \":a\", `:a` -- :a\n, :b /* :a */"),
        ("select x:a, x::a, ?, '?', ?", "select x:a, x::a, 2, '?', 3"),
        ("?, ?, ?", "2, 3, ?"),
    ],
)
def test_values_are_written_outside_of_quotes_and_comments(text, expected):
    assert bound(text, {"a": "1"}, ["2", "3"]) == expected
