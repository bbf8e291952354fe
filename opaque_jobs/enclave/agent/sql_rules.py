"""What SQL a job may contain: rules over the plan that Spark's own parser made of the text, never over the text.

`PlanOutline.java` writes every node and argument of the parsed plan as JSON. Each class name must be listed here; relations
must be the job's data sets, the session's temporary views, or names bound by WITH; functions must be listed. Unknown = refused.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from opaque_jobs.enclave.agent.functions import FUNCTIONS, REFUSED_FUNCTIONS, TABLE_FUNCTIONS
from opaque_jobs.enclave.agent.schema_rules import Argument, RefusedError, check_schema_argument

__all__ = ["NAME", "Names", "RefusedError", "check_outline", "created_view"]

NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

_PLANS: Final = """
    Project Filter Join Aggregate Sort GlobalLimit LocalLimit Offset Distinct Deduplicate Union Intersect Except SubqueryAlias
    UnresolvedWith OneRowRelation LocalRelation UnresolvedInlineTable UnresolvedHaving UnresolvedHint Sample Generate LateralJoin
    UnresolvedTVFAliases UnresolvedSubqueryColumnAliases Pivot Unpivot WithWindowDefinition PipeOperator Window
    RepartitionByExpression Repartition LateralSubquery UnresolvedQualify
"""
_EXPRESSIONS: Final = """
    UnresolvedAttribute UnresolvedStar UnresolvedStarExceptOrReplace UnresolvedStarExcept UnresolvedRegex UnresolvedAlias Alias
    MultiAlias UnresolvedOrdinal UnresolvedExtractValue UnresolvedNamedLambdaVariable LambdaFunction
    Literal And Or Not EqualTo EqualNullSafe LessThan LessThanOrEqual GreaterThan GreaterThanOrEqual IsNull
    IsNotNull IsTrue IsFalse In InSubquery ListQuery Exists ScalarSubquery UnresolvedWindowExpression WindowExpression
    WindowSpecDefinition WindowSpecReference SpecifiedWindowFrame UnspecifiedFrame$ RowFrame$ RangeFrame$ CurrentRow$
    UnboundedPreceding$ UnboundedFollowing$ SortOrder Ascending$ Descending$ NullsFirst$ NullsLast$ CaseWhen If Cast Like
    ILike RLike LikeAll NotLikeAll LikeAny NotLikeAny Between Add Subtract Multiply Divide Remainder IntegralDivide UnaryMinus
    UnaryPositive BitwiseAnd BitwiseOr BitwiseXor BitwiseNot ShiftLeft ShiftRight ShiftRightUnsigned Concat CreateNamedStruct
    CreateArray CreateMap CurrentDate CurrentTimestamp CurrentTime LocalTimestamp CurrentUser Extract Overlay StringLocate
    StringTrim StringTrimLeft StringTrimRight StringTrimBoth Substring TimestampAdd TimestampDiff TimestampAddInterval
    SemiStructuredExtract UnresolvedCollation Collate GroupingSets Cube Rollup GroupingAnalytics NumericEvalContext
    ExprId AliasIdentifier JoinHint Coalesce TryEval Murmur3Hash ArrayTransform ConcatWs
    Grouping GroupingID AttributeReference TypedLiteral NamedArgumentExpression EvalMode$ TruncTimestamp TruncDate
    PipeExpression AggregateExpression First Last AnyValue Complete$
    Inner$ LeftOuter$ RightOuter$ FullOuter$ LeftSemi$ LeftAnti$ Cross$ NaturalJoin UsingJoin
    SampleMethod$Bernoulli$ SampleMethod$System$ Tuple2 Tuple3 UnresolvedTableArg Between$ PlanExpression
    GroupByAll$ UnresolvedGroupByAll UnresolvedOrderByAll
    scala.Enumeration$Val java.lang.Character org.apache.spark.sql.types.Metadata
    org.apache.spark.sql.catalyst.expressions.GenericInternalRow
"""
_SIMPLE: Final = frozenset((_PLANS + _EXPRESSIONS).split())
_SHIFTING: Final = frozenset(
    {"NamedArgumentExpression", "UnresolvedStar", "UnresolvedStarExcept", "UnresolvedStarExceptOrReplace", "UnresolvedRegex"}
)
_VIEW: Final = "CreateViewCommand"
_LOCAL_VIEW: Final = "org.apache.spark.sql.catalyst.analysis.LocalTempView$"
_WORDS: Final = {
    "ScriptTransformation": "running programs (TRANSFORM ... USING) is not allowed in a job",
    "SetCommand": "changing or reading settings (SET) is not allowed in a job",
    "AddJarsCommand": "adding files or jars is not allowed in a job",
    "AddFilesCommand": "adding files or jars is not allowed in a job",
    "CreateFunctionCommand": "functions in Java are not allowed in a job; use a Python UDF",
    "PlanWithUnresolvedIdentifier": "IDENTIFIER() is not allowed in a job; write the name itself",
    "ExpressionWithUnresolvedIdentifier": "IDENTIFIER() is not allowed in a job; write the name itself",
    "NamedParameter": "a parameter of the SQL text has no value",
    "PosParameter": "a parameter of the SQL text has no value",
    "ExplainCommand": "EXPLAIN is not allowed in a job",
}


class Names:
    """The names that a session knows: the data sets of the job, and what the author's own code has made.

    Args:
        datasets: Aliases of the job's data sets, which nothing may replace.
    """

    def __init__(self, datasets: tuple[str, ...]) -> None:
        self.datasets: Final = frozenset(name.lower() for name in datasets)
        self._views: set[str] = set()
        self._functions: set[str] = set()

    def check_relation(self, name: str) -> None:
        """Check that a name stands for a data set or an own view.

        Raises:
            RefusedError: It does not.
        """
        if name.lower() not in self.datasets | self._views:
            raise RefusedError(f"'{name}' is not a data set of this job or a view that it made")

    def check_new(self, name: str) -> None:
        """Check that an own view may have this name.

        Raises:
            RefusedError: It is no plain name, or a data set's.
        """
        if not NAME.fullmatch(name) or name.lower() in self.datasets:
            raise RefusedError("a view needs a plain name that no data set of the job has")

    def add_view(self, name: str) -> None:
        """Remember a view that the author's code made."""
        self._views.add(name.lower())

    def add_function(self, name: str) -> None:
        """Remember a Python function, or table function, that the author's code registers.

        Raises:
            RefusedError: The name is not plain, or one of Spark's that jobs may not call.
        """
        if not NAME.fullmatch(name) or name.lower() in REFUSED_FUNCTIONS:
            raise RefusedError("a function needs a plain name that Spark does not use")
        self._functions.add(name.lower())

    def check_function(self, name: str) -> None:
        """Check that a function may be called.

        Raises:
            RefusedError: It is neither listed nor the author's own.
        """
        if name.lower() not in FUNCTIONS and name.lower() not in self._functions:
            raise RefusedError(f"the function '{name}' is not allowed in a job")

    def check_table_function(self, name: str) -> None:
        """Check that a function may stand in a FROM clause.

        Raises:
            RefusedError: It is neither listed nor the author's own.
        """
        if name.lower() not in TABLE_FUNCTIONS and name.lower() not in self._functions:
            raise RefusedError(f"the table function '{name}' is not allowed in a job")


def _nodes(outline: Any) -> Iterator[dict[str, Any]]:
    """Give every node below and including the outline, without recursion (plans can be deep)."""
    stack = [outline]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            yield item
            stack.append(item["a"])
        elif isinstance(item, list):
            stack.extend(item)


def _single(parts: Any, check: Callable[[str], None], otherwise: str) -> None:
    if not isinstance(parts, list) or len(parts) != 1 or not isinstance(parts[0], str):
        raise RefusedError(otherwise)
    check(parts[0])


def created_view(outline: Any) -> str | None:
    """Give the name of the temporary view that a statement makes; None if it makes none."""
    return str(outline["a"][0]["a"][0]) if isinstance(outline, dict) and outline["n"] == _VIEW else None


def check_outline(outline: Any, names: Names, *, statement: bool) -> None:
    """Judge a parsed statement or expression.

    Args:
        outline: What `PlanOutline` wrote.
        names: Names that the session knows.
        statement: Whether CREATE TEMPORARY VIEW is possible here; an expression holds queries at most.

    Raises:
        RefusedError: Something in it is not allowed.
    """
    view = created_view(outline)
    if statement and view is not None:
        _check_view(outline, view, names)
    bound = {
        entry["a"][0].lower()
        for node in _nodes(outline)
        if node["n"] == "UnresolvedWith"
        for entry in node["a"][1]
        if isinstance(entry["a"][0], str)
    }
    for node in _nodes(outline if view is None or not statement else outline["a"][6]):
        _check_node(node, names, bound)


def _check_view(outline: Any, view: str, names: Names) -> None:
    identifier, kind = outline["a"][0], outline["a"][9]
    if kind["n"] != _LOCAL_VIEW or identifier["a"][1:] != [None, None] or outline["a"][4]:
        raise RefusedError("only CREATE TEMPORARY VIEW with a plain name is allowed in a job")
    names.check_new(view)


def _argument(outline: dict[str, Any]) -> Argument:
    kind, arguments = outline["n"], outline["a"]
    if kind == "UnresolvedFunction" and len(arguments[0]) == 1:
        return Argument(function=arguments[0][0], first=_text(arguments[1][0]) if arguments[1] else None)
    return Argument(text=_text(outline), shifting=kind in _SHIFTING)


def _text(outline: dict[str, Any]) -> str | None:
    """Give the text of a plain string literal; other literals have no text in an outline."""
    return str(outline["a"][0]) if outline["n"] == "Literal" and outline["a"] else None


def _check_node(node: dict[str, Any], names: Names, bound: set[str]) -> None:
    kind, arguments = node["n"], node["a"]
    if kind == "UnresolvedRelation":
        if arguments[1]:
            raise RefusedError("options on a table are not allowed in a job")
        _single(
            arguments[0],
            lambda name: None if name.lower() in bound else names.check_relation(name),
            "reading files by path, or a catalog's tables, is not allowed in a job; use the data set by its name",
        )
    elif kind == "UnresolvedFunction":
        _single(arguments[0], names.check_function, "functions are called by their plain name in a job")
        check_schema_argument(arguments[0][0], [_argument(each) for each in arguments[1]])
    elif kind == "UnresolvedTableValuedFunction":
        _single(arguments[0], names.check_table_function, "functions are called by their plain name in a job")
    elif kind == "UnresolvedGenerator":
        parts = [part for part in arguments[0]["a"] if part is not None]
        _single(parts, names.check_table_function, "functions are called by their plain name in a job")
    elif kind == "FunctionIdentifier":
        return  # judged with the generator around it; nothing else that is listed holds one
    elif kind not in _SIMPLE:
        raise RefusedError(_WORDS.get(kind, f"this is not allowed in a job: {kind.rpartition('.')[2]}"))
