"""What a job may ask of the engine: rules over Spark Connect's messages.

A message is walked by its descriptor, whatever its shape: every message type in it must be listed, no field may be unknown to
us, and some fields have a rule of their own. Closed by default: what a later Spark adds is refused until it is listed.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet
from pyspark.sql.connect.proto import base_pb2, commands_pb2, expressions_pb2, relations_pb2

from opaque_jobs.domain.job import ALLOWED_SPARK_CONF
from opaque_jobs.enclave.agent.arrow_input import rewritten
from opaque_jobs.enclave.agent.functions import INTERNAL_FUNCTIONS
from opaque_jobs.enclave.agent.schema_rules import Argument, check_schema_argument, plain_schema
from opaque_jobs.enclave.agent.sql_parameters import write_parameters
from opaque_jobs.enclave.agent.sql_rules import NAME, Names, RefusedError, check_outline, created_view

__all__ = ["Rules"]

_PREFIX: Final = "spark.connect."
_LISTED: Final = """
    Plan UserContext KeyValue ExecutePlanRequest ExecutePlanRequest.RequestOption ReattachOptions ResultChunkingOptions
    AnalyzePlanRequest AnalyzePlanRequest.Schema AnalyzePlanRequest.TreeString AnalyzePlanRequest.IsLocal
    AnalyzePlanRequest.IsStreaming AnalyzePlanRequest.SparkVersion AnalyzePlanRequest.DDLParse
    AnalyzePlanRequest.Persist AnalyzePlanRequest.Unpersist AnalyzePlanRequest.GetStorageLevel
    AnalyzePlanRequest.JsonToDDL StorageLevel
    ConfigRequest ConfigRequest.Operation ConfigRequest.Set ConfigRequest.Get ConfigRequest.GetWithDefault
    ConfigRequest.GetOption ConfigRequest.IsModifiable
    ReattachExecuteRequest ReleaseExecuteRequest ReleaseExecuteRequest.ReleaseAll ReleaseExecuteRequest.ReleaseUntil
    InterruptRequest
    Command SqlCommand SqlCommand.ArgsEntry SqlCommand.NamedArgumentsEntry CreateDataFrameViewCommand
    Relation RelationCommon Origin PythonOrigin SQL SQL.ArgsEntry SQL.NamedArgumentsEntry WithRelations Read Read.NamedTable
    Project Filter Join Join.JoinDataType SetOperation Limit Offset Tail Aggregate Aggregate.Pivot Aggregate.GroupingSets Sort
    Drop Deduplicate LocalRelation Sample Range SubqueryAlias Repartition ShowString HtmlString StatSummary StatDescribe
    StatCrosstab StatCov StatCorr StatApproxQuantile StatFreqItems StatSampleBy StatSampleBy.Fraction NAFill NADrop
    NAReplace NAReplace.Replacement ToDF WithColumnsRenamed WithColumnsRenamed.RenameColumnsMapEntry
    WithColumnsRenamed.Rename WithColumns Hint Unpivot Unpivot.Values Transpose UnresolvedTableValuedFunction ToSchema
    RepartitionByExpression MapPartitions GroupMap CoGroupMap CommonInlineUserDefinedTableFunction PythonUDTF AsOfJoin
    LateralJoin Catalog CurrentDatabase CurrentCatalog TableExists ListTables DropTempView IsCached CacheTable UncacheTable
    Expression ExpressionCommon Expression.Window Expression.Window.WindowFrame
    Expression.Window.WindowFrame.FrameBoundary Expression.SortOrder Expression.Cast Expression.Literal
    Expression.Literal.Decimal Expression.Literal.CalendarInterval Expression.Literal.Array Expression.Literal.Map
    Expression.Literal.Struct Expression.Literal.SpecializedArray Expression.Literal.Time Expression.UnresolvedAttribute
    Expression.UnresolvedFunction Expression.ExpressionString Expression.UnresolvedStar Expression.UnresolvedRegex
    Expression.UnresolvedExtractValue Expression.UpdateFields Expression.Alias Expression.LambdaFunction
    Expression.UnresolvedNamedLambdaVariable CommonInlineUserDefinedFunction PythonUDF CallFunction NamedArgumentExpression
    SubqueryExpression SubqueryExpression.TableArgOptions Bools Ints Longs Floats Doubles Strings
"""
_MESSAGES: Final = frozenset(_LISTED.split())
_WORDS: Final = {
    "Read.DataSource": "reading files by path, or a data source, is not allowed in a job; use the data set by its name",
    "WriteOperation": "writing is not allowed in a job; give the result back from main()",
    "WriteOperationV2": "writing is not allowed in a job; give the result back from main()",
    "MlCommand": "Spark's ML library is not available in a job; use Python UDFs",
    "MlRelation": "Spark's ML library is not available in a job; use Python UDFs",
    "JavaUDF": "functions in Java are not allowed in a job; use a Python UDF",
    "ScalarScalaUDF": "functions in Scala are not allowed in a job; use a Python UDF",
    "AnalyzePlanRequest.Explain": "explain() is not allowed in a job",
    "AnalyzePlanRequest.InputFiles": "inputFiles() is not allowed in a job",
    "AnalyzePlanRequest.SemanticHash": "semanticHash() is not allowed in a job",
    "AnalyzePlanRequest.SameSemantics": "sameSemantics() is not allowed in a job",
    "CheckpointCommand": "checkpoints are not allowed in a job",
    "CachedLocalRelation": "data made in the code is too large for a job",
    "ChunkedCachedLocalRelation": "data made in the code is too large for a job",
    "Plan.CompressedOperation": "compressed plans are not allowed in a job",
    "ConfigRequest.GetAll": "listing settings is not allowed in a job",
}
_SHIFTING: Final = frozenset({"named_argument_expression", "unresolved_star", "unresolved_regex"})
_READABLE_CONF: Final = ("spark.sql.", "spark.python.sql.", "spark.connect.session.planCompression.")


def _nodes(message: Message) -> Iterator[Message]:
    """Give the message and all messages in it, without recursion."""
    stack = [message]
    while stack:
        item = stack.pop()
        yield item
        for field, value in item.ListFields():
            if field.message_type is None:
                continue
            if field.message_type.GetOptions().map_entry:
                values = value.values() if field.message_type.fields_by_name["value"].message_type else ()
                stack.extend(values)
            elif isinstance(value, Message):
                stack.append(value)
            else:
                stack.extend(value)


def _short(message: Message) -> str:
    return str(message.DESCRIPTOR.full_name).removeprefix(_PREFIX)


def _argument(message: expressions_pb2.Expression) -> Argument:
    kind = message.WhichOneof("expr_type")
    if kind in {"unresolved_function", "call_function"}:
        call = getattr(message, kind)
        return Argument(function=call.function_name, first=_text(call.arguments[0]) if call.arguments else None)
    return Argument(text=_text(message), shifting=kind in _SHIFTING)


def _text(message: expressions_pb2.Expression) -> str | None:
    """Give the text of a plain string literal."""
    plain = message.literal.WhichOneof("literal_type") == "string" and not message.literal.HasField("data_type")
    return str(message.literal.string) if plain else None


class Rules:
    """Judges the requests of one session.

    Args:
        names: What the session's names stand for.
        outline: Parses SQL in the engine: text, and whether it is a statement (else an expression) -> outline.
        session_id: The only session that requests may name.
        user_id: The only user.
    """

    def __init__(self, names: Names, outline: Callable[[str, bool], Any], *, session_id: str, user_id: str) -> None:
        self._names = names
        self._outline = outline
        self._session_id = session_id
        self._user_id = user_id
        self._checks: dict[str, Callable[[Any], object]] = {
            "Read.NamedTable": self._named_table,
            "Read": self._read,
            "SQL": self._sql,
            "SqlCommand": self._sql,
            "WithRelations": self._references,
            "Expression.ExpressionString": lambda message: self._expression(message.expression),
            "Expression.UnresolvedFunction": self._function,
            "Expression.UnresolvedAttribute": self._attribute,
            "CallFunction": self._call,
            "UnresolvedTableValuedFunction": lambda message: self._names.check_table_function(message.function_name),
            "CreateDataFrameViewCommand": self._view,
            "Command": self._command,
            "PythonUDF": self._python,
            "PythonUDTF": self._table_python,
            "LocalRelation": self._local,
            "AnalyzePlanRequest.JsonToDDL": self._json_schema,
            "AnalyzePlanRequest.DDLParse": lambda message: plain_schema(message.ddl_string),
            "DataType.Unparsed": lambda message: plain_schema(message.data_type_string),
            "Expression.Cast": lambda message: plain_schema(message.type_str) if message.type_str else None,
            "ConfigRequest.Set": lambda message: self._conf(pair.key for pair in message.pairs),
            "TableExists": self._table,
            "DropTempView": lambda message: self._names.check_new(message.view_name),
            "IsCached": self._table,
            "CacheTable": self._table,
            "UncacheTable": self._table,
        }

    def check(self, request: Message) -> None:
        """Judge a request, and remember the names that it makes. What the engine gets is the judged message, not its bytes.

        Raises:
            RefusedError: Something in it is not allowed.
        """
        context = getattr(request, "user_context", None)
        if getattr(request, "session_id", None) != self._session_id or context is None or context.user_id != self._user_id:
            raise RefusedError("a job has exactly one session")
        for message in _nodes(request):
            name = _short(message)
            if len(UnknownFieldSet(message)):
                raise RefusedError(f"this is not allowed in a job: a field of {name} that is not known here")
            if name not in _MESSAGES and not self._is_type(name):
                raise RefusedError(_WORDS.get(name, f"this is not allowed in a job: {name}"))
            rule = self._checks.get(name)
            if rule is not None:
                rule(message)
        if isinstance(request, base_pb2.ConfigRequest):
            self._readable(request)
        self._remember(request)

    @staticmethod
    def _is_type(name: str) -> bool:
        return (name == "DataType" or name.startswith("DataType.")) and name != "DataType.UDT"

    def _sql(self, message: relations_pb2.SQL | commands_pb2.SqlCommand) -> None:
        """Judge the very text that the engine will parse: values are written into it here, and none are left beside it."""
        write_parameters(message)
        text = message.query if isinstance(message, relations_pb2.SQL) else message.sql
        if text or isinstance(message, relations_pb2.SQL):
            check_outline(self._outline(text, True), self._names, statement=True)

    def _references(self, message: relations_pb2.WithRelations) -> None:
        """Judge the frames that a SQL text may name: for its time the engine makes each a view, and drops it afterwards."""
        if message.root.WhichOneof("rel_type") != "sql":
            return
        for reference in message.references:
            self._names.check_new(reference.subquery_alias.alias)
            self._names.add_view(reference.subquery_alias.alias)

    def _expression(self, text: str) -> None:
        check_outline(self._outline(text, False), self._names, statement=False)

    def _read(self, message: relations_pb2.Read) -> None:
        if message.is_streaming:
            raise RefusedError("streams are not allowed in a job")

    def _named_table(self, message: relations_pb2.Read.NamedTable) -> None:
        name = message.unparsed_identifier
        if len(name) > 2 and name[0] == name[-1] == "`":
            name = name[1:-1]
        if not NAME.fullmatch(name) or message.options:
            raise RefusedError(_WORDS["Read.DataSource"])
        self._names.check_relation(name)

    def _table(self, message: Any) -> None:
        if not NAME.fullmatch(message.table_name) or getattr(message, "db_name", None):
            raise RefusedError("tables are named by their plain name in a job")
        self._names.check_relation(message.table_name)

    def _function(self, message: expressions_pb2.Expression.UnresolvedFunction) -> None:
        if message.is_internal and message.function_name.lower() in INTERNAL_FUNCTIONS:
            return
        self._call(message)

    def _call(self, message: expressions_pb2.Expression.UnresolvedFunction | expressions_pb2.CallFunction) -> None:
        self._names.check_function(message.function_name)
        check_schema_argument(message.function_name, [_argument(each) for each in message.arguments])

    def _attribute(self, message: expressions_pb2.Expression.UnresolvedAttribute) -> None:
        if message.is_metadata_column:
            raise RefusedError("metadata columns are not allowed in a job")

    def _view(self, message: commands_pb2.CreateDataFrameViewCommand) -> None:
        if message.is_global:
            raise RefusedError("global views are not allowed in a job; use a temporary view")
        self._names.check_new(message.name)

    def _command(self, message: commands_pb2.Command) -> None:
        kind = message.WhichOneof("command_type")
        if kind not in {"sql_command", "create_dataframe_view", "register_function", "register_table_function"}:
            name = message.DESCRIPTOR.fields_by_name[kind].message_type.name if kind else "Command"
            raise RefusedError(_WORDS.get(name, f"this is not allowed in a job: {kind}"))

    def _python(self, message: expressions_pb2.PythonUDF) -> None:
        if message.additional_includes:
            raise RefusedError("files for functions are not allowed in a job")

    def _table_python(self, message: relations_pb2.PythonUDTF) -> None:
        if not message.HasField("return_type"):  # else the author's analyze() gives it to the engine, past these rules
            raise RefusedError("a table function names its return type in a job; analyze() is not available")

    def _local(self, message: relations_pb2.LocalRelation) -> None:
        if message.schema:
            message.schema = plain_schema(message.schema)
        if message.data:
            message.data = rewritten(message.data)

    def _json_schema(self, message: base_pb2.AnalyzePlanRequest.JsonToDDL) -> None:
        message.json_string = plain_schema(message.json_string)

    def _conf(self, keys: Iterator[str]) -> None:
        for key in keys:
            if key not in ALLOWED_SPARK_CONF:
                raise RefusedError(f"changing the setting '{key}' is not allowed in a job")

    def _readable(self, request: base_pb2.ConfigRequest) -> None:
        operation = request.operation
        kind = operation.WhichOneof("op_type")
        chosen = getattr(operation, kind) if kind else None
        keys = [*getattr(chosen, "keys", ()), *(pair.key for pair in getattr(chosen, "pairs", ()))]
        for key in keys:
            if not key.startswith(_READABLE_CONF):
                raise RefusedError(f"reading the setting '{key}' is not allowed in a job")

    def _remember(self, request: Message) -> None:
        command = request.plan.command if isinstance(request, base_pb2.ExecutePlanRequest) else None
        kind = command.WhichOneof("command_type") if command is not None else None
        if command is None or kind is None:
            return
        if kind == "create_dataframe_view":
            self._names.add_view(command.create_dataframe_view.name)
        elif kind == "register_function":
            self._names.add_function(command.register_function.function_name)
        elif kind == "register_table_function":
            self._names.add_function(command.register_table_function.function_name)
        elif kind == "sql_command":
            for message in _nodes(command):
                text = getattr(message, "sql", "") or getattr(message, "query", "")
                view = created_view(self._outline(text, True)) if isinstance(text, str) and text else None
                if view is not None:
                    self._names.add_view(view)
