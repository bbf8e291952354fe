"""The words for errors that may leave a real run: none that an author's code can make up.

Names of Python's own exceptions and of PySpark's, and the error conditions that PySpark and Spark publish.
"""

import builtins
import functools
import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pyspark.errors

__all__ = ["error_class", "is_condition"]

_ANY: Final = "an exception"
_CLASSES: Final = frozenset(
    name
    for module in (builtins, pyspark.errors)
    for name, each in vars(module).items()
    if isinstance(each, type) and issubclass(each, BaseException)
)


def error_class(name: str) -> str:
    """Return the name of an exception's class if it is a known one, else words for any."""
    return name if name in _CLASSES else _ANY


def is_condition(text: str) -> bool:
    """Tell whether this is, letter for letter, an error condition or sub-condition of Spark."""
    return text in _conditions()


@functools.cache
def _conditions() -> frozenset[str]:
    from pyspark.errors.error_classes import ERROR_CLASSES_MAP  # noqa: PLC0415 - large, and seldom needed

    return frozenset(name for document in (ERROR_CLASSES_MAP, *_of_engine()) for name in _names(document))


def _of_engine() -> Iterator[Mapping[str, Any]]:
    """Yield the engine's own list, from its jar."""
    for jar in (Path(pyspark.errors.__file__).parents[1] / "jars").glob("spark-common-utils_*.jar"):
        with zipfile.ZipFile(jar) as files:
            yield json.loads(files.read("error/error-conditions.json"))


def _names(document: Mapping[str, Any]) -> Iterator[str]:
    for name, entry in document.items():
        yield name
        for key in ("sub_class", "subClass"):
            yield from (f"{name}.{each}" for each in entry.get(key, {}))
