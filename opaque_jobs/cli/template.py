"""`opaque-jobs template`: what no-code jobs are made of."""

import json
from typing import Annotated

import typer
from rich.syntax import Syntax

from opaque_jobs.cli.command import Noun, common
from opaque_jobs.cli.output import print_json, print_record, print_rows, stderr, stdout
from opaque_jobs.templates.registry import load_catalogue

__all__ = ["app"]

app = Noun(help="No-code templates: versioned, with typed parameters.")


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
        stderr().print(f"[yellow]not usable:[/] {problem.source}: {problem.message} ({problem.hint})", markup=True)


@app.command("show")
def show(*, name: Annotated[str, typer.Argument(help="NAME or NAME@VERSION.")]) -> None:
    """Show a template: what it does, and the JSON Schema of its parameters."""
    wanted, _, version = name.partition("@")
    template = load_catalogue().find(wanted, version or None)
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
        print_json({**document, "parameters": template.parameters})
        return
    print_record(document, as_json=False)
    stdout().print("\n[bold]parameters[/] (JSON Schema)")
    stdout().print(Syntax(json.dumps(template.parameters, indent=2), "json", theme="ansi_dark", background_color="default"))
