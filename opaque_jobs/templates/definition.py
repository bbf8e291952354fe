"""A no-code template as its author wrote it: a folder that is read whole, checked, and known by one digest.

Format, version 1. `template.json` (closed), `query.sql` or `main.py`, and `tests/<case>.json`. Everything in the folder counts
towards the digest, so members approve exactly what they saw. The text is never executed or pasted here.
"""

import ast
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from opaque_jobs.domain.canonical import canonical_bytes, digest, parse_json
from opaque_jobs.domain.document import from_json
from opaque_jobs.domain.ids import check_identifier, check_text
from opaque_jobs.domain.job import MAX_CODE, Language
from opaque_jobs.domain.output_policy import OutputPolicy
from opaque_jobs.domain.patterns import check_pattern
from opaque_jobs.errors import InvalidInputError

__all__ = ["TEMPLATE_CONSTANT", "Case", "Slot", "Template", "read_template"]

TEMPLATE_CONSTANT: Final = "TEMPLATE"
"""Module constant of a Python template that rendering fills with JSON text."""
_NAME: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_VERSION: Final = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
_LOGIC: Final = {Language.SQL: "query.sql", Language.PYTHON: "main.py"}
_MAX_FILES: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A data set that the template needs; the author of a job says which of theirs it is.

    Args:
        name: Identifier by which the logic refers to it.
        description: For people.
    """

    name: str
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Document:
    """`template.json`."""

    v: int
    name: str
    version: str
    title: str
    description: str
    language: Language
    datasets: tuple[Slot, ...]
    parameters: dict[str, Any]
    output_policy: OutputPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A test that comes with a template: parameters, tiny data, and the result to expect.

    Args:
        name: File name without `.json`.
        parameters: A whole parameter document.
        datasets: Alias -> `{"columns": [{"name", "type"}, ...], "rows": [[...], ...]}`.
        expected: `{"columns": [...], "rows": [...], "ordered": bool, "tolerance": number}`.
    """

    name: str
    parameters: dict[str, Any]
    datasets: dict[str, Any]
    expected: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A checked template.

    Args:
        name: Lower case words joined by `-`.
        version: `major.minor.patch`.
        title: For people, up to 60 characters.
        description: For people, up to 1,000 characters.
        language: Of the logic.
        slots: Data sets that it needs.
        parameters: JSON Schema of the whole parameter document, with the data set references in `datasets`.
        output_policy: What jobs made of it may put out.
        logic: Text of `query.sql` or `main.py`.
        cases: Its tests.
        digest: Over every file in the folder.
    """

    name: str
    version: str
    title: str
    description: str
    language: Language
    slots: tuple[Slot, ...]
    parameters: dict[str, Any]
    output_policy: OutputPolicy
    logic: str
    cases: tuple[Case, ...]
    digest: str

    @property
    def example(self) -> dict[str, Any] | None:
        """A parameter document to begin with: the first of the schema's `examples`, or else of the tests; None without any."""
        found: list[dict[str, Any]] = [*self.parameters.get("examples", []), *(case.parameters for case in self.cases)]
        return found[0] if found else None


def read_template(folder: Path) -> Template:
    """Read and check a template's folder.

    Raises:
        InvalidInputError: Something in it is missing, unknown or wrong; the message says what, by file and field.
    """
    files = _files(folder)
    document = _document(_text(files, "template.json", folder.name))
    logic_name = _LOGIC[document.language]
    logic = _text(files, logic_name, document.name)
    _check_names(document)
    _check_logic(document, logic)
    unknown = [name for name in files if name not in {"template.json", logic_name} and not name.startswith("tests/")]
    if unknown:
        raise _wrong(document.name, f"has a file that templates do not have ({unknown[0]})", "keep only its own files")
    return Template(
        name=document.name,
        version=document.version,
        title=document.title,
        description=document.description,
        language=document.language,
        slots=document.datasets,
        parameters=_whole_schema(document),
        output_policy=document.output_policy,
        logic=logic,
        cases=tuple(_case(document.name, name, files[name]) for name in sorted(files) if name.startswith("tests/")),
        digest=digest(canonical_bytes({name: hashlib.sha256(data).hexdigest() for name, data in files.items()})),
    )


def _wrong(name: str, problem: str, hint: str) -> InvalidInputError:
    return InvalidInputError(f"template '{name}' {problem}", hint=hint, template=name)


def _files(folder: Path) -> dict[str, bytes]:
    try:
        found = [p for p in sorted(folder.rglob("*")) if p.is_file() and not {"__pycache__", ".git"} & set(p.parts)]
        if len(found) > _MAX_FILES:
            raise _wrong(folder.name, "has too many files", f"at most {_MAX_FILES}")
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}
    except OSError:
        raise _wrong(folder.name, "cannot be read", "check the folder's permissions") from None


def _text(files: Mapping[str, bytes], name: str, template: str) -> str:
    if name not in files:
        raise _wrong(template, f"has no {name}", "see the template format in the documentation")
    try:
        text = files[name].decode("utf-8")
    except UnicodeDecodeError:
        raise _wrong(template, f"has a {name} that is not UTF-8", "save it as UTF-8") from None
    check_text(text, what=f"template's {name}", limit=MAX_CODE)
    return text


def _document(text: str) -> _Document:
    return from_json(_Document, parse_json(text.encode(), what="template.json"), what="template.json")


def _check_names(document: _Document) -> None:
    if document.v != 1 or not _NAME.fullmatch(document.name) or not _VERSION.fullmatch(document.version):
        raise _wrong(document.name[:60], "has a wrong format version, name or version", "like 1, 'my-template' and '1.0.0'")
    check_text(document.title, what="template's title", limit=60)
    check_text(document.description, what="template's description", limit=1000)
    for slot in document.datasets:
        check_identifier(slot.name, what="template's data set")
    names = [slot.name.lower() for slot in document.datasets]
    if not names or len(set(names)) != len(names):
        raise _wrong(document.name, "names no data set, or one twice", "list each once under 'datasets'")


def _check_logic(document: _Document, logic: str) -> None:
    if document.language is Language.SQL:
        return
    try:
        tree = ast.parse(logic)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise _wrong(document.name, "has a main.py that is not Python", "run it through python -m py_compile") from None
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    if "main" not in functions or len(constants(tree)) != 1:
        raise _wrong(
            document.name,
            f"needs 'def main(spark, inputs, params)' and one line '{TEMPLATE_CONSTANT} = ...' in main.py",
            "rendering puts the parameters there, as JSON text",
        )


def constants(tree: ast.Module) -> list[ast.Assign | ast.AnnAssign]:
    """Give the module-level assignments to the template constant."""
    found: list[ast.Assign | ast.AnnAssign] = []
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        if any(isinstance(target, ast.Name) and target.id == TEMPLATE_CONSTANT for target in targets):
            found.append(node)  # type: ignore[arg-type]
    return found


def _whole_schema(document: _Document) -> dict[str, Any]:
    """Add the data set references to the author's schema.

    Raises:
        InvalidInputError: It is no closed JSON Schema of an object, or points outside itself.
    """
    schema = document.parameters
    properties = schema.get("properties")
    if (
        schema.get("type") != "object"
        or schema.get("additionalProperties") is not False
        or not isinstance(properties, dict)
        or "datasets" in properties
        or any(not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", name) or name == "item" for name in properties)
    ):
        raise _wrong(
            document.name,
            "has parameters that are not a closed JSON Schema of an object",
            "type 'object', additionalProperties false, lower-case names; 'datasets' and 'item' are taken",
        )
    _check_references(document, schema)
    slots = {slot.name: {"type": "string", "description": slot.description, "x-dataset": True} for slot in document.datasets}
    references = {"type": "object", "properties": slots, "required": list(slots), "additionalProperties": False}
    whole = {
        **schema,
        "properties": {"datasets": references, **properties},
        "required": ["datasets", *schema.get("required", [])],
    }
    try:
        Draft202012Validator.check_schema(whole)
    except SchemaError:
        raise _wrong(document.name, "has parameters that are not JSON Schema 2020-12", "check it with a validator") from None
    return whole


def _check_references(document: _Document, node: Any) -> None:
    if isinstance(node, list):
        for item in node:
            _check_references(document, item)
    if not isinstance(node, dict):
        return
    slots = {slot.name for slot in document.datasets}
    if "patternProperties" in node:
        raise _wrong(document.name, "has names by pattern in its parameters", "name each property")
    if isinstance(node.get("pattern"), str):
        check_pattern(node["pattern"])
    if not str(node.get("$ref", "#/")).startswith("#/") or "$dynamicRef" in node or "$id" in node:
        raise _wrong(document.name, "has a schema reference that leaves the document", "use '#/$defs/...'")
    if "x-column-of" in node and node["x-column-of"] not in slots:
        raise _wrong(document.name, "has a column reference to a data set it does not have", "x-column-of names a data set")
    for item in node.values():
        _check_references(document, item)


def _case(template: str, name: str, data: bytes) -> Case:
    document = parse_json(data, what=f"{template}, {name}")
    fields = {"v", "parameters", "datasets", "expected"}
    expected = {"columns", "rows", "ordered", "tolerance"}
    if (
        not name.endswith(".json")
        or not isinstance(document, dict)
        or set(document) != fields
        or document["v"] != 1
        or not all(isinstance(document[field], dict) for field in ("parameters", "datasets", "expected"))
        or set(document["expected"]) != expected
        or not all(isinstance(data, dict) and set(data) == {"columns", "rows"} for data in document["datasets"].values())
    ):
        raise _wrong(template, f"has a test that does not have the expected form ({name})", "compare it with a built-in one")
    return Case(
        name=name.removeprefix("tests/").removesuffix(".json"),
        parameters=document["parameters"],
        datasets=document["datasets"],
        expected=document["expected"],
    )
