"""Operations: what the coordinator can be asked, declared once, so that server and client cannot differ.

A noun is a class of methods without bodies, each marked with its HTTP method and path. The server makes routes of it, the
client makes calls of it, and the OpenAPI document is read off the same signatures. What is in the path's braces goes there; the
other arguments go into the query of a GET or DELETE, and into the JSON body of everything else. An argument annotated with
`IfMatch` goes into the header of that name (RFC 9110, section 13.1.1).
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from string import Formatter
from typing import Annotated, Any, Final, Generic, TypeVar, get_args, get_origin, get_type_hints

__all__ = [
    "API_PREFIX",
    "MOUNT",
    "ROUTES",
    "IfMatch",
    "Operation",
    "Page",
    "Parameter",
    "Place",
    "delete",
    "get",
    "operations_of",
    "post",
    "put",
]

MOUNT: Final = "/opaque-jobs"
"""Where the coordinator's application is mounted, in Airflow's api-server or alone."""
ROUTES: Final = "/api/v1"
API_PREFIX: Final = MOUNT + ROUTES

T = TypeVar("T")
Method = TypeVar("Method", bound=Callable[..., Any])


class Place(StrEnum):
    """Where an argument travels."""

    PATH = "path"
    QUERY = "query"
    BODY = "body"
    IF_MATCH = "if-match"


_IF_MATCH: Final = object()
IfMatch = Annotated[int, _IF_MATCH]
"""The version of what is changed, as it was read: the change is refused if there is another by now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """Part of a list.

    Args:
        items: In the list's order.
        next: What to give as `cursor` for the part after it; None at the end.
    """

    items: tuple[T, ...]
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One argument; `default` is `inspect.Parameter.empty` where there is none."""

    name: str
    kind: Any
    place: Place
    default: Any

    @property
    def required(self) -> bool:
        """Whether it must be given."""
        return self.default is inspect.Parameter.empty


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One thing that can be asked.

    Args:
        noun: What it is about, such as `jobs`.
        name: The method's name.
        method: HTTP method.
        path: Below `API_PREFIX`, with parameters in braces.
        parameters: By name, in order.
        result: Type of the answer; None for an empty one.
        anonymous: Whether it may be asked without logging in.
        doc: The method's docstring.
    """

    noun: str
    name: str
    method: str
    path: str
    parameters: Mapping[str, Parameter]
    result: Any
    anonymous: bool
    doc: str

    @property
    def id(self) -> str:
        """Noun and name."""
        return f"{self.noun}.{self.name}"


@dataclass(frozen=True, slots=True)
class _Mark:
    method: str
    path: str
    anonymous: bool


def _marker(method: str) -> Callable[..., Callable[[Method], Method]]:
    def mark(path: str, *, anonymous: bool = False) -> Callable[[Method], Method]:
        def decorate(function: Method) -> Method:
            function.__operation__ = _Mark(method, path, anonymous)  # type: ignore[attr-defined]
            return function

        return decorate

    return mark


get, post, put, delete = (_marker(method) for method in ("GET", "POST", "PUT", "DELETE"))


def operations_of(noun: str, declared: type) -> tuple[Operation, ...]:
    """Give the operations that a class of declarations names, in order."""
    found = []
    for name, function in vars(declared).items():
        mark = getattr(function, "__operation__", None)
        if mark is not None:
            found.append(_operation(noun, name, function, mark))
    return tuple(found)


def _operation(noun: str, name: str, function: Any, mark: _Mark) -> Operation:
    hints = get_type_hints(function, include_extras=True)
    in_path = {field for _, field, _, _ in Formatter().parse(mark.path) if field}
    parameters = {
        each.name: _parameter(each, hints[each.name], in_path=each.name in in_path, method=mark.method)
        for each in list(inspect.signature(function).parameters.values())[1:]
    }
    if in_path - parameters.keys():
        raise TypeError(f"{noun}.{name} has no argument for its path")
    result = hints.get("return")
    return Operation(
        noun=noun,
        name=name,
        method=mark.method,
        path=mark.path,
        parameters=parameters,
        result=None if result is type(None) else result,
        anonymous=mark.anonymous,
        doc=inspect.getdoc(function) or "",
    )


def _parameter(declared: inspect.Parameter, hint: Any, *, in_path: bool, method: str) -> Parameter:
    if get_origin(hint) is Annotated and _IF_MATCH in get_args(hint):
        kind, place = get_args(hint)[0], Place.IF_MATCH
    elif in_path:
        kind, place = hint, Place.PATH
    else:
        kind, place = hint, Place.QUERY if method in ("GET", "DELETE") else Place.BODY
    return Parameter(name=declared.name, kind=kind, place=place, default=declared.default)
