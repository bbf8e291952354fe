"""The rules over outlines of parsed SQL, without Spark."""

import pytest

from opaque_jobs.enclave.agent.functions import FUNCTIONS, REFUSED_FUNCTIONS, TABLE_FUNCTIONS
from opaque_jobs.enclave.agent.sql_rules import Names, RefusedError, check_outline, created_view

LOCAL = {"n": "org.apache.spark.sql.catalyst.analysis.LocalTempView$", "a": []}
GLOBAL = {"n": "org.apache.spark.sql.catalyst.analysis.GlobalTempView$", "a": []}
PERSISTED = {"n": "org.apache.spark.sql.catalyst.analysis.PersistedView$", "a": []}


def node(name, *arguments):
    return {"n": name, "a": list(arguments)}


def relation(*parts, options=()):
    return node("UnresolvedRelation", list(parts), list(options), None)


def call(*parts):
    return node("UnresolvedFunction", list(parts), [], None, None, None, [], None)


def view(name, plan, *, kind=LOCAL, database=None, properties=()):
    identifier = node("TableIdentifier", name, database, None)
    return node("CreateViewCommand", identifier, [], None, None, list(properties), "text", plan, None, None, kind, None, None, [])


@pytest.fixture
def names() -> Names:
    return Names(("people",))


@pytest.mark.parametrize(
    "outline",
    [
        relation("other"),
        relation("parquet", "/data/people"),
        relation("people", options=["path", "/x"]),
        node("Project", [call("reflect")], relation("people")),
        node("Project", [call("system", "builtin", "sum")], relation("people")),
        node("UnresolvedTableValuedFunction", ["python_worker_logs"], [], None),
        node("Generate", node("UnresolvedGenerator", node("FunctionIdentifier", "reflect", None, None), []), relation("people")),
        node("Generate", node("UnresolvedGenerator", node("FunctionIdentifier", "explode", "a", None), []), relation("people")),
        node("ScriptTransformation", "cat", [], relation("people"), None),
        node("SomethingNew", relation("people")),
        node("Filter", node("org.example.Strange"), relation("people")),
        node("PlanWithUnresolvedIdentifier", node("Literal"), [], None),
    ],
)
def test_outline_with_something_unlisted_is_refused(names, outline):
    with pytest.raises(RefusedError):
        check_outline(outline, names, statement=True)


def test_outline_hidden_in_any_argument_is_found(names):
    outline = node("Project", [node("Alias", node("ScalarSubquery", relation("other"), []), "x")], relation("people"))

    with pytest.raises(RefusedError):
        check_outline(outline, names, statement=True)


def test_outline_name_bound_by_with_may_be_read(names):
    bound = node("Tuple3", "Recent", node("SubqueryAlias", node("AliasIdentifier", "recent", []), relation("people")), None)

    check_outline(node("UnresolvedWith", node("Project", [], relation("recent")), [bound], None), names, statement=True)


def test_outline_of_a_temporary_view_makes_its_name_known(names):
    outline = view("mine", relation("people"))

    check_outline(outline, names, statement=True)

    assert created_view(outline) == "mine"


@pytest.mark.parametrize(
    "outline",
    [
        view("people", relation("people")),
        view("mine", relation("other")),
        view("mine", relation("people"), kind=GLOBAL),
        view("mine", relation("people"), kind=PERSISTED),
        view("mine", relation("people"), database="default"),
        view("mine", relation("people"), properties=["a", "b"]),
    ],
)
def test_outline_of_a_view_that_replaces_persists_or_escapes_is_refused(names, outline):
    with pytest.raises(RefusedError):
        check_outline(outline, names, statement=True)


def test_outline_of_a_view_inside_an_expression_is_refused(names):
    with pytest.raises(RefusedError):
        check_outline(view("mine", relation("people")), names, statement=False)


def test_functions_refused_ones_are_on_no_list():
    assert not REFUSED_FUNCTIONS & (FUNCTIONS | TABLE_FUNCTIONS)
    assert {"reflect", "java_method", "try_reflect", "input_file_name"} <= REFUSED_FUNCTIONS
