"""`opaque-jobs template`: what no-code jobs are made of."""

import json
from typing import Annotated, Any

import typer
from rich.syntax import Syntax

from opaque_jobs.cli.command import Noun, common
from opaque_jobs.cli.output import escape, print_json, print_record, print_rows, stderr, stdout
from opaque_jobs.client.finding import offering
from opaque_jobs.errors import NotFoundError
from opaque_jobs.templates.definition import Template
from opaque_jobs.templates.registry import load_catalogue

__all__ = ["app", "find_template"]

app = Noun(help="No-code templates: versioned, with typed parameters.")


def find_template(text: str) -> Template:
    """Give a template by NAME or NAME@VERSION.

    Raises:
        NotFoundError: There is none.
    """
    name, _, version = text.partition("@")
    catalogue = load_catalogue()
    try:
        return catalogue.find(name, version or None)
    except NotFoundError as error:
        raise offering(error, name, [template.name for template in catalogue.templates]) from None


@app.command("list")
def list_() -> None:
    """List the templates."""
    catalogue = load_catalogue()
    rows = [
        {
            "name": template.name,
            "version": template.version,
            "title": template.title,
            "datasets": [slot.name for slot in template.slots],
            "digest": template.digest,
        }
        for template in catalogue.templates
    ]
    print_rows(rows, ["name", "version", "title", "datasets"], as_json=common().json)
    for problem in catalogue.problems:
        stderr().print(
            f"[yellow]not usable:[/] {escape(str(problem.source))}: {escape(problem.message)} ({escape(problem.hint)})"
        )


@app.command("show")
def show(*, name: Annotated[str, typer.Argument(help="NAME or NAME@VERSION.")]) -> None:
    """Show a template: what it does, the JSON Schema of its parameters, and an example of them."""
    template = find_template(name)
    document = {
        "name": template.name,
        "version": template.version,
        "title": template.title,
        "description": template.description,
        "language": template.language.value,
        "datasets": {slot.name: slot.description for slot in template.slots},
        "digest": template.digest,
    }
    if common().json:
        print_json({**document, "parameters": template.parameters, "example": template.example})
        return
    print_record(document, as_json=False)
    _section("parameters (JSON Schema)", {word: what for word, what in template.parameters.items() if word != "examples"})
    if template.example is not None:
        _section("an example, for a file that 'job create --parameters' gets", template.example)


def _section(title: str, document: dict[str, Any]) -> None:
    stdout().print(f"\n[bold]{title}[/]")
    stdout().print(Syntax(json.dumps(document, indent=2), "json", theme="ansi_dark", background_color="default"))
