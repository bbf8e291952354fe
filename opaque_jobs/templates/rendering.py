"""From a template and its parameters to the code that members review, approve and run.

The same inputs always give the same text, so anyone who has the template can check a no-code job: render again and compare.
"""

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from opaque_jobs.domain.canonical import canonical_bytes
from opaque_jobs.domain.dataset import Column
from opaque_jobs.domain.job import Code, Language, TemplateUse
from opaque_jobs.domain.output_policy import OutputPolicy
from opaque_jobs.templates.definition import TEMPLATE_CONSTANT, Template, constants
from opaque_jobs.templates.parameters import Parameters, check_parameters
from opaque_jobs.templates.sql import render_sql

__all__ = ["Rendered", "render"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """What a template gives for parameters.

    Args:
        code: Goes into the job specification.
        output_policy: Likewise.
        use: Likewise.
        columns: Data set alias -> the columns that the job needs, for its `DatasetUse`.
    """

    code: Code
    output_policy: OutputPolicy
    use: TemplateUse
    columns: dict[str, tuple[str, ...]]


def render(template: Template, parameters: Mapping[str, Any], datasets: Mapping[str, Sequence[Column]]) -> Rendered:
    """Render a template.

    Args:
        template: The template.
        parameters: The parameter document; its `datasets` says which data set fills which slot.
        datasets: Alias -> columns, of all data sets that may be used.

    Raises:
        InvalidInputError: The parameters do not fit, or the template's logic is wrong.

    Trust: Names are only ever quoted identifiers of columns that exist, values only ever typed literals (SQL) or JSON text in
        one string literal (Python). Nothing that the author of the parameters wrote becomes code.
    """
    checked = check_parameters(template, parameters, datasets)
    text = render_sql(template, checked) if template.language is Language.SQL else _render_python(template, checked)
    return Rendered(
        code=Code(language=template.language, text=text),
        output_policy=template.output_policy,
        use=TemplateUse(name=template.name, version=template.version, digest=template.digest, parameters=checked.document),
        columns=checked.columns,
    )


def _render_python(template: Template, parameters: Parameters) -> str:
    (node,) = constants(ast.parse(template.logic))
    document = canonical_bytes(parameters.document).decode("utf-8")
    lines = template.logic.splitlines()
    lines[node.lineno - 1 : node.end_lineno] = [f"{TEMPLATE_CONSTANT} = {document!a}"]
    origin = f"# Made by the no-code template {template.name} {template.version}\n# {template.digest}\n"
    return origin + "\n".join(lines) + "\n"
