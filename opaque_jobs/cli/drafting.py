"""From options to the content of a draft."""

import ast
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from opaque_jobs.cli.template import find_template
from opaque_jobs.domain.dataset import Column
from opaque_jobs.domain.inputs import InputVariable
from opaque_jobs.domain.job import Code, JobKind, Language, TeeKind
from opaque_jobs.domain.output_policy import LogKind
from opaque_jobs.domain.rerun_terms import RerunTerms
from opaque_jobs.domain.tee_policy import TeePolicies
from opaque_jobs.errors import InvalidInputError, NotFoundError
from opaque_jobs.protocol.views import DatasetView
from opaque_jobs.services import DEFAULT_OUTPUT_POLICY, DraftDataset, JobDraft
from opaque_jobs.services.specs import check_released
from opaque_jobs.templates.rendering import render

__all__ = ["Wanted", "build_draft", "parse_use", "read_code", "read_parameters"]

_MAX_FILE_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the author asked for.

    Args:
        name: Of the job.
        description: For people.
        code: For a notebook job.
        template: Template name (and `@version`) for a no-code job.
        parameters: Of the template.
        datasets: Alias -> data set, of those that the job reads.
        columns: Alias -> columns; all that its owner releases if a data set is not named.
        inputs: Declarations.
        rerun_terms: How often it may run.
        tee_kinds: Accepted kinds of evidence.
        tee_policies: What is demanded of each kind of hardware.
        experimental_hardware: The author accepts what hardware does not vouch for.
        spark_conf: Engine settings.
        log: What a real run's log may say; None leaves it to the template, and is fixed words without one.
    """

    name: str
    description: str
    code: Code | None
    template: str | None
    parameters: Mapping[str, Any]
    datasets: Mapping[str, DatasetView]
    columns: Mapping[str, tuple[str, ...]]
    inputs: tuple[InputVariable, ...]
    rerun_terms: RerunTerms
    tee_kinds: tuple[TeeKind, ...]
    tee_policies: TeePolicies
    experimental_hardware: bool = False
    spark_conf: dict[str, str]
    log: LogKind | None = None


def parse_use(text: str) -> tuple[str, str, tuple[str, ...] | None]:
    """Parse `[ALIAS=]DATASET[:COLUMN,COLUMN]` into alias, data set and columns."""
    source, has_columns, listed = text.partition(":")
    alias, named, dataset = source.partition("=")
    columns = tuple(each.strip() for each in listed.split(",")) if has_columns else None
    return (alias, dataset, columns) if named else (source, source, columns)


def _read_text(file: Path, what: str) -> str:
    try:
        data = file.read_bytes()
    except OSError:
        raise NotFoundError(f"the {what} cannot be read", hint="check the path") from None
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = ""
    if not text.strip() or len(data) > _MAX_FILE_BYTES:
        raise InvalidInputError(f"the {what} is empty, too long or not UTF-8 text", hint="was the right file given?")
    return text


def _parsed(text: str) -> str:
    """Give Python back if it parses; nothing of it is run here."""
    try:
        with warnings.catch_warnings(action="ignore"):
            ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        said = (
            f", line {error.lineno or 0}: {error.msg}"
            if isinstance(error, SyntaxError)
            else ": it is nested too deeply, or has null bytes"
        )
        raise InvalidInputError(f"the Python file does not parse{said}", hint="fix it there; nothing was drafted") from None
    return text


def read_code(*, sql: Path | None, python: Path | None) -> Code | None:
    """Read the code of a notebook job; None if no file is given.

    Raises:
        InvalidInputError: Both are given, the file is not text, or the Python does not parse.
        NotFoundError: The file cannot be read.
    """
    if sql is not None and python is not None:
        raise InvalidInputError("a job is SQL or Python, not both", hint="give one of --sql and --python")
    if sql is not None:
        return Code(language=Language.SQL, text=_read_text(sql, "SQL file"))
    if python is not None:
        return Code(language=Language.PYTHON, text=_parsed(_read_text(python, "Python file")))
    return None


def read_parameters(file: Path | None) -> Mapping[str, Any]:
    """Read the parameters of a no-code job from a JSON file.

    Raises:
        InvalidInputError: Not a JSON object.
        NotFoundError: The file cannot be read.
    """
    if file is None:
        return {}
    try:
        document = json.loads(_read_text(file, "parameter file"))
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise InvalidInputError("the parameter file is not a JSON object", hint="see 'opaque-jobs template show NAME'")
    return document


def build_draft(wanted: Wanted) -> JobDraft:
    """Make the draft, rendering the template of a no-code job.

    Raises:
        InvalidInputError: Code and template are both given or both missing, or the parameters do not fit.
        NotFoundError: There is no such template.
    """
    if (wanted.code is None) == (wanted.template is None):
        raise InvalidInputError("a job needs code or a template", hint="give one of --sql, --python, --pinned and --template")
    if wanted.template is not None and wanted.log is not None:
        raise InvalidInputError("a template says itself what a run's log holds", hint="leave out --log")
    _check_columns(wanted)
    draft = JobDraft(
        kind=JobKind.NOTEBOOK if wanted.template is None else JobKind.NO_CODE,
        tee_kinds=wanted.tee_kinds,
        tee_policies=wanted.tee_policies,
        experimental_hardware=wanted.experimental_hardware,
        name=wanted.name,
        description=wanted.description,
        code=wanted.code,
        inputs=wanted.inputs,
        datasets=_uses(wanted.datasets, wanted.columns),
        rerun_terms=wanted.rerun_terms,
        spark_conf=wanted.spark_conf,
        output_policy=replace(DEFAULT_OUTPUT_POLICY, log=wanted.log or LogKind.WORDS),
    )
    if wanted.template is None:
        return draft
    template = find_template(wanted.template)
    available: dict[str, Sequence[Column]] = {alias: view.released for alias, view in wanted.datasets.items()}
    rendered = render(template, wanted.parameters, available)
    return replace(
        draft,
        code=rendered.code,
        template=rendered.use,
        output_policy=rendered.output_policy,
        datasets=_uses({alias: wanted.datasets[alias] for alias in rendered.columns}, rendered.columns),
    )


def _check_columns(wanted: Wanted) -> None:
    for alias, names in wanted.columns.items():
        known = [column.name for column in wanted.datasets[alias].columns]
        unknown = [name for name in names if name not in known]
        if unknown:
            raise InvalidInputError(
                f"the data set '{alias}' has no column '{unknown[0]}'", hint="columns: " + ", ".join(known[:30])
            )
        check_released(alias, names, wanted.datasets[alias].released)


def _uses(datasets: Mapping[str, DatasetView], columns: Mapping[str, tuple[str, ...]]) -> tuple[DraftDataset, ...]:
    return tuple(DraftDataset(alias=alias, dataset_id=view.id, columns=columns.get(alias)) for alias, view in datasets.items())
