"""The gate's rules over Connect's messages, without Spark."""

import json

import pytest
from pyspark.sql.connect.proto import base_pb2, relations_pb2

from opaque_jobs.enclave.agent.gate_rules import Rules
from opaque_jobs.enclave.agent.sql_rules import Names, RefusedError

SESSION = "00000000-0000-4000-8000-000000000001"
SELECT = {"n": "Project", "a": [[{"n": "UnresolvedStar", "a": [None]}], {"n": "UnresolvedRelation", "a": [["people"], [], None]}]}
SET = {"n": "SetCommand", "a": []}


@pytest.fixture
def names() -> Names:
    return Names(("people",))


@pytest.fixture
def rules(names) -> Rules:
    return Rules(names, lambda text, _statement: SET if text.startswith("set") else SELECT, session_id=SESSION, user_id="author")


def make_request(kind=base_pb2.ExecutePlanRequest, **over):
    request = kind(session_id=SESSION, **over)
    request.user_context.user_id = "author"
    return request


def of_relation(**relation) -> base_pb2.ExecutePlanRequest:
    request = make_request()
    request.plan.root.CopyFrom(relations_pb2.Relation(**relation))
    return request


def table(name: str, **over) -> base_pb2.ExecutePlanRequest:
    return of_relation(read={"named_table": {"unparsed_identifier": name, **over}})


def column(**expression) -> base_pb2.ExecutePlanRequest:
    request = of_relation(project={"input": {"range": {"end": 1, "step": 1}}})
    request.plan.root.project.expressions.add(**expression)
    return request


@pytest.mark.parametrize("name", ["people", "PEOPLE", "`people`"])
def test_rules_data_set_by_name_passes(rules, name):
    rules.check(table(name))


@pytest.mark.parametrize(
    "name", ["other", "parquet.`/data/people`", "`parquet`.`/x`", "global_temp.people", "people version as of 1", "", "`", "``"]
)
def test_rules_any_other_table_is_refused(rules, name):
    with pytest.raises(RefusedError):
        rules.check(table(name))


def test_rules_table_options_are_refused(rules):
    with pytest.raises(RefusedError):
        rules.check(table("people", options={"path": "/data"}))


@pytest.mark.parametrize(
    "request_",
    [
        of_relation(read={"data_source": {"format": "text", "paths": ["/etc/passwd"]}}),
        of_relation(read={"named_table": {"unparsed_identifier": "people"}, "is_streaming": True}),
        of_relation(cached_remote_relation={"relation_id": "x"}),
        of_relation(cached_local_relation={"hash": "x"}),
        of_relation(unknown={}),
        of_relation(common_inline_user_defined_data_source={"name": "x"}),
        of_relation(ml_relation={}),
        of_relation(parse={"input": {"range": {"end": 1}}}),
        of_relation(sql={"query": "set x=y"}),
        of_relation(unresolved_table_valued_function={"function_name": "python_worker_logs"}),
        column(unresolved_function={"function_name": "java_method"}),
        column(unresolved_function={"function_name": "JAVA_METHOD", "is_internal": True}),
        column(call_function={"function_name": "reflect"}),
        column(common_inline_user_defined_function={"function_name": "f", "java_udf": {"class_name": "x.Y"}}),
        column(common_inline_user_defined_function={"function_name": "f", "scalar_scala_udf": {"payload": b"x"}}),
        column(unresolved_attribute={"unparsed_identifier": "_metadata", "is_metadata_column": True}),
        column(cast={"type": {"udt": {"jvm_class": "x.Y"}}}),
        column(
            common_inline_user_defined_function={"function_name": "f", "python_udf": {"additional_includes": ["/etc/passwd"]}}
        ),
    ],
    ids=lambda request_: request_.plan.root.WhichOneof("rel_type"),
)
def test_rules_dangerous_relation_is_refused(rules, request_):
    with pytest.raises(RefusedError):
        rules.check(request_)


@pytest.mark.parametrize(
    "command",
    [
        "write_operation", "write_operation_v2", "write_stream_operation_start", "streaming_query_command",
        "get_resources_command",
        "streaming_query_manager_command", "streaming_query_listener_bus_command", "register_data_source",
        "create_resource_profile_command", "checkpoint_command", "remove_cached_remote_relation_command",
        "merge_into_table_command", "ml_command", "execute_external_command", "pipeline_command",
    ],
)  # fmt: skip
def test_rules_command_that_is_not_listed_is_refused(rules, command):
    request = make_request()
    getattr(request.plan.command, command).SetInParent()

    with pytest.raises(RefusedError):
        rules.check(request)


def test_rules_every_command_of_the_protocol_is_refused_or_listed(rules):
    listed = {"sql_command", "create_dataframe_view", "register_function", "register_table_function"}
    for field in base_pb2.ExecutePlanRequest().plan.command.DESCRIPTOR.fields:
        request = make_request()
        getattr(request.plan.command, field.name).SetInParent()
        if field.name not in listed:
            with pytest.raises(RefusedError):
                rules.check(request)


def test_rules_unknown_field_is_refused(rules):
    data = table("people").SerializeToString() + b"\xfa\x3f\x02hi"

    with pytest.raises(RefusedError):
        rules.check(base_pb2.ExecutePlanRequest.FromString(data))


@pytest.mark.parametrize("over", [{"session_id": "another"}, {"session_id": ""}])
def test_rules_another_session_is_refused(rules, over):
    request = table("people")
    request.session_id = over["session_id"]

    with pytest.raises(RefusedError):
        rules.check(request)


def test_rules_another_user_is_refused(rules):
    request = table("people")
    request.user_context.user_id = "agent"

    with pytest.raises(RefusedError):
        rules.check(request)


def test_rules_extension_of_the_user_context_is_refused(rules):
    request = table("people")
    request.user_context.extensions.add()

    with pytest.raises(RefusedError):
        rules.check(request)


def make_view(name: str, **over) -> base_pb2.ExecutePlanRequest:
    request = make_request()
    request.plan.command.create_dataframe_view.input.range.end = 1
    request.plan.command.create_dataframe_view.name = name
    for field, value in over.items():
        setattr(request.plan.command.create_dataframe_view, field, value)
    return request


def test_rules_own_view_can_be_read_after_it_was_made(rules):
    with pytest.raises(RefusedError):
        rules.check(table("mine"))

    rules.check(make_view("Mine"))

    rules.check(table("mine"))


@pytest.mark.parametrize("request_", [make_view("People"), make_view("a.b"), make_view("mine", is_global=True)])
def test_rules_view_that_replaces_or_escapes_is_refused(rules, request_):
    with pytest.raises(RefusedError):
        rules.check(request_)


def test_rules_refused_view_leaves_no_name_behind(rules):
    request = make_view("mine")
    request.plan.command.create_dataframe_view.input.read.data_source.format = "text"

    with pytest.raises(RefusedError):
        rules.check(request)

    with pytest.raises(RefusedError):
        rules.check(table("mine"))


def test_rules_registered_python_function_may_be_called(rules):
    request = make_request()
    request.plan.command.register_function.function_name = "double_it"
    request.plan.command.register_function.python_udf.command = b"x"
    rules.check(request)

    rules.check(column(unresolved_function={"function_name": "double_it"}))


def test_rules_function_registered_under_a_forbidden_name_is_refused(rules):
    request = make_request()
    request.plan.command.register_function.function_name = "Reflect"
    request.plan.command.register_function.python_udf.command = b"x"

    with pytest.raises(RefusedError):
        rules.check(request)


def conf(**operation) -> base_pb2.ConfigRequest:
    request = make_request(base_pb2.ConfigRequest)
    request.operation.CopyFrom(base_pb2.ConfigRequest.Operation(**operation))
    return request


@pytest.mark.parametrize(
    "request_",
    [
        conf(set={"pairs": [{"key": "spark.sql.runSQLOnFiles", "value": "true"}]}),
        conf(unset={"keys": ["spark.sql.runSQLOnFiles"]}),
        conf(get={"keys": ["spark.connect.authenticate.token"]}),
        conf(get_option={"keys": ["spark.hadoop.parquet.crypto.factory.class"]}),
        conf(get_with_default={"pairs": [{"key": "spark.master"}]}),
        conf(is_modifiable={"keys": ["spark.local.dir"]}),
        conf(get_all={}),
    ],
    ids=lambda request_: request_.operation.WhichOneof("op_type"),
)
def test_rules_setting_outside_the_list_is_refused(rules, request_):
    with pytest.raises(RefusedError):
        rules.check(request_)


def test_rules_listed_setting_passes(rules):
    rules.check(conf(set={"pairs": [{"key": "spark.sql.shuffle.partitions", "value": "4"}]}))
    rules.check(conf(get={"keys": ["spark.sql.session.timeZone"]}))


@pytest.mark.parametrize("kind", ["explain", "input_files"])
def test_rules_analysis_that_tells_about_files_is_refused(rules, kind):
    request = make_request(base_pb2.AnalyzePlanRequest)
    getattr(request, kind).plan.root.range.end = 1

    with pytest.raises(RefusedError):
        rules.check(request)


def test_rules_schema_that_names_a_class_is_refused_however_it_is_written(rules):
    schema = '{"type":"struct","fields":[{"name":"a","type":{"type":"\\u0075dt","class":"x.Y"}}]}'

    with pytest.raises(RefusedError):
        rules.check(of_relation(local_relation={"data": b"", "schema": schema}))


def test_rules_schema_is_sent_on_as_it_was_understood(rules):
    request = of_relation(local_relation={"data": b"", "schema": '{"type": "struct", "type": "struct", "fields": []}'})

    rules.check(request)

    assert request.plan.root.local_relation.schema == json.dumps({"type": "struct", "fields": []})


def test_rules_plan_nested_hundreds_deep_is_judged_to_its_end(rules):
    request = table("other")
    for _ in range(500):
        outer = relations_pb2.Relation()
        outer.limit.limit = 1
        outer.limit.input.CopyFrom(request.plan.root)
        request.plan.root.CopyFrom(outer)

    with pytest.raises(RefusedError):
        rules.check(request)


def test_rules_sql_is_judged_by_its_plan(rules):
    request = make_request()
    request.plan.command.sql_command.input.sql.query = "select * from people"
    rules.check(request)
    request.plan.command.sql_command.input.sql.query = "set a=b"

    with pytest.raises(RefusedError):
        rules.check(request)
