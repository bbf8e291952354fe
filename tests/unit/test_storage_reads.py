"""Every place that opens a file is listed once in `docs/storage-reads.md`, with why its bytes may be used."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import opaque_jobs

ROOT = Path(opaque_jobs.__file__).parent
PAGE = ROOT.parent / "docs" / "storage-reads.md"
PLACES = ("enclave/agent", "runner", "storage", "verify", "services", "data", "cli", "broker", "api", "client")
FILES = ("crypto/parquet_read", "crypto/result_file")
READERS = {
    *("FileResponse", "ParquetFile", "connect", "copyfile", "copyfileobj", "copytree", "file_digest", "memory_map", "open"),
    *("open_result", "read_bytes", "read_dataset", "read_result", "read_schema", "read_table", "read_text", "result_schema"),
}
SCOPES = (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)


def reads(node: ast.AST, scope: tuple[str, ...] = ()) -> Iterator[str]:
    """Names of the functions that open something."""
    for child in ast.iter_child_nodes(node):
        inner = (*scope, child.name) if isinstance(child, SCOPES) else scope
        if isinstance(child, ast.Call) and getattr(child.func, "attr", getattr(child.func, "id", "")) in READERS:
            yield ".".join(inner)
        yield from reads(child, inner)


def in_code() -> set[tuple[str, str]]:
    modules = [path for place in PLACES for path in (ROOT / place).rglob("*.py")] + [ROOT / f"{name}.py" for name in FILES]
    return {
        (path.relative_to(ROOT).with_suffix("").as_posix(), function)
        for path in modules
        for function in reads(ast.parse(path.read_text()))
    }


def listed() -> list[tuple[str, str, str]]:
    return re.findall(r"^\| `(\S+)` \| `(\S+)` \| [^|]+ \| ([^|]+) \|$", PAGE.read_text(), re.MULTILINE)


def test_every_place_that_opens_a_file_is_listed_and_no_other():
    assert in_code() == {(module, function) for module, function, _ in listed()}


def test_every_place_is_listed_once_and_with_a_reason():
    rows = listed()

    assert len(rows) == len({row[:2] for row in rows}) > 40
    assert all(len(reason.split()) > 1 for _, _, reason in rows)


def test_reader_that_is_new_is_found():
    tree = ast.parse("class A:\n def f(self):\n  return Path('x').read_bytes()\ndef g():\n pq.read_table('x')")

    assert list(reads(tree)) == ["A.f", "g"]
