"""Schemas written as text must not make the engine load a class by name, whichever way they come: SQL or Connect."""

import json

import pytest
from pyspark.sql.connect.proto import base_pb2, expressions_pb2

from opaque_jobs.enclave.agent.gate_rules import Rules
from opaque_jobs.enclave.agent.schema_rules import plain_schema
from opaque_jobs.enclave.agent.sql_rules import Names, RefusedError, check_outline

SESSION = "00000000-0000-4000-8000-000000000001"
UDT = '{"type":"udt","class":"x.Y","pyClass":null,"sqlType":"string"}'
PLACES = [("from_json", 1), ("FROM_JSON", 1), ("from_csv", 1), ("variant_get", 2), ("try_variant_get", 2)]

REFUSED_TEXTS = [
    UDT,
    f"\n {UDT}",
    '{"type":"\\u0075dt","class":"x.Y"}',
    json.dumps({"type": "struct", "fields": [{"name": "a", "type": json.loads(UDT), "nullable": True, "metadata": {}}]}),
    '{"type":"udt","class":"x.Y","type":"string"}',
    f"{UDT} and more behind it",
    f"{UDT}}}",
    "{'type':'udt','class':'x.Y'}",
    "",
]
PLAIN_TEXTS = [
    "a INT, b STRING",
    "`a b` STRUCT<udt: STRING>",
    "MAP<STRING, INT>",
    '"integer"',
    json.dumps({"type": "struct", "fields": [{"name": "udt", "type": "integer", "nullable": True, "metadata": {}}]}),
]


@pytest.mark.parametrize("text", REFUSED_TEXTS)
def test_schema_that_may_name_a_class_is_refused(text):
    with pytest.raises(RefusedError):
        plain_schema(text)


@pytest.mark.parametrize("text", PLAIN_TEXTS)
def test_schema_of_plain_types_passes(text):
    assert plain_schema(text).replace(" ", "") == text.replace(" ", "")


def node(name, *arguments):
    return {"n": name, "a": list(arguments)}


def text_of(value):
    return node("Literal", value)


NUMBER = node("Literal")


def call(name, *arguments):
    return node("UnresolvedFunction", [name], list(arguments), False, None, False, [], False)


def sql_call(function, place, schema):
    return call(function, *[node("UnresolvedAttribute", ["x"]) for _ in range(place)], schema)


SQL_REFUSED = [
    text_of(UDT),
    call("concat", text_of('{"type":"u'), text_of('dt","class":"x.Y"}')),
    call("concat", text_of("a INT")),
    node("NamedParameter", "schema"),
    node("PosParameter", 7),
    node("UnresolvedAttribute", ["schema"]),
    node("Collate", text_of("a INT"), node("UnresolvedCollation", ["UTF8_LCASE"])),
    node("Cast", text_of("a INT"), None, None, None),
    node("ScalarSubquery", node("OneRowRelation"), []),
    call("schema_of_json", call("concat", text_of("{}"))),
    call("schema_of_json"),
    node("NamedArgumentExpression", "schema", text_of("a INT")),
    NUMBER,
]


def judge_sql(outline):
    check_outline(outline, Names(()), statement=False)


@pytest.mark.parametrize(("function", "place"), PLACES)
@pytest.mark.parametrize("schema", SQL_REFUSED)
def test_sql_schema_that_is_not_one_plain_string_is_refused(function, place, schema):
    with pytest.raises(RefusedError):
        judge_sql(sql_call(function, place, schema))


@pytest.mark.parametrize(("function", "place"), PLACES)
@pytest.mark.parametrize(
    "schema", [text_of("a INT"), call("schema_of_json", text_of('{"a":1}')), call("schema_of_csv", text_of("1"))]
)
def test_sql_schema_that_is_one_plain_string_passes(function, place, schema):
    judge_sql(sql_call(function, place, schema))


@pytest.mark.parametrize(
    "arguments",
    [
        [node("NamedArgumentExpression", "type", text_of("a INT")), node("UnresolvedAttribute", ["x"])],
        [node("UnresolvedStar", None), text_of("$"), text_of("int")],
        [node("UnresolvedAttribute", ["x"])],
    ],
)
@pytest.mark.parametrize("function", ["from_json", "variant_get"])
def test_sql_schema_by_name_by_star_or_missing_is_refused(function, arguments):
    with pytest.raises(RefusedError):
        judge_sql(call(function, *arguments))


def test_sql_schema_variant_without_a_type_passes():
    judge_sql(call("variant_get", node("UnresolvedAttribute", ["x"]), text_of("$.a")))


@pytest.fixture
def rules() -> Rules:
    return Rules(Names(()), lambda _text, _statement: NUMBER, session_id=SESSION, user_id="author")


def make_request(kind=base_pb2.ExecutePlanRequest):
    request = kind(session_id=SESSION)
    request.user_context.user_id = "author"
    return request


def projecting(expression) -> base_pb2.ExecutePlanRequest:
    request = make_request()
    request.plan.root.project.input.range.end = 1
    request.plan.root.project.expressions.add().CopyFrom(expression)
    return request


def literal(text):
    return {"literal": {"string": text}}


def function(name, *arguments):
    return {"unresolved_function": {"function_name": name, "arguments": list(arguments)}}


COLUMN = {"unresolved_attribute": {"unparsed_identifier": "x"}}
CONNECT_REFUSED = [
    literal(UDT),
    literal(f"{UDT} x"),
    {"literal": {"string": "a INT", "data_type": {"string": {}}}},
    {"literal": {"binary": UDT.encode()}},
    function("concat", literal('{"type":"u'), literal('dt","class":"x.Y"}')),
    function("schema_of_json", COLUMN),
    {"expression_string": {"expression": "'a INT'"}},
    {"alias": {"expr": literal("a INT"), "name": ["s"]}},
    {"cast": {"expr": literal("a INT"), "type_str": "string"}},
    {"named_argument_expression": {"key": "schema", "value": literal("a INT")}},
    COLUMN,
]


@pytest.mark.parametrize(("name", "place"), PLACES)
@pytest.mark.parametrize("form", ["unresolved_function", "call_function"])
@pytest.mark.parametrize("schema", CONNECT_REFUSED)
def test_connect_schema_that_is_not_one_plain_string_is_refused(rules, name, place, form, schema):
    expression = expressions_pb2.Expression(**{form: {"function_name": name, "arguments": [*[COLUMN] * place, schema]}})

    with pytest.raises(RefusedError):
        rules.check(projecting(expression))


@pytest.mark.parametrize(("name", "place"), PLACES)
@pytest.mark.parametrize(
    "schema", [literal("a INT"), literal('{"type":"struct","fields":[]}'), function("schema_of_json", literal("{}"))]
)
def test_connect_schema_that_is_one_plain_string_passes(rules, name, place, schema):
    rules.check(projecting(expressions_pb2.Expression(**function(name, *[COLUMN] * place, schema))))


def test_connect_schema_behind_a_star_is_refused(rules):
    star = {"unresolved_star": {}}

    with pytest.raises(RefusedError):
        rules.check(projecting(expressions_pb2.Expression(**function("from_json", star, literal("a INT")))))


@pytest.mark.parametrize("text", [UDT, f"{UDT} x"])
def test_connect_type_as_text_that_names_a_class_is_refused_anywhere(rules, text):
    local = make_request()
    local.plan.root.local_relation.schema = text
    to_ddl = make_request(base_pb2.AnalyzePlanRequest)
    to_ddl.json_to_ddl.json_string = text
    parse = make_request(base_pb2.AnalyzePlanRequest)
    parse.ddl_parse.ddl_string = text
    cast = projecting(expressions_pb2.Expression(cast={"expr": COLUMN, "type_str": text}))
    unparsed = projecting(expressions_pb2.Expression(cast={"expr": COLUMN, "type": {"unparsed": {"data_type_string": text}}}))

    for request in (local, to_ddl, parse, cast, unparsed):
        with pytest.raises(RefusedError):
            rules.check(request)


def table_function(**over):
    request = make_request()
    function = request.plan.root.common_inline_user_defined_table_function
    function.function_name = "f"
    function.python_udtf.command = b"x"
    for kind in over:
        getattr(function.python_udtf.return_type, kind).SetInParent()
    return request


def test_connect_table_function_whose_type_the_authors_code_would_tell_is_refused(rules):
    rules.check(table_function(integer=True))

    with pytest.raises(RefusedError):
        rules.check(table_function())
