"""Where templates come from: the product, installed packages (entry points) and a folder of the platform team.

One broken template never hides the others: it is listed as a problem. Two different templates under one name and version
are both refused, so nobody can slip another definition under a name that members know.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final

from opaque_jobs.errors import NotFoundError, OpaqueJobsError
from opaque_jobs.templates import BUILT_IN
from opaque_jobs.templates.definition import Template, read_template

__all__ = ["ENTRY_POINTS", "FOLDERS_VARIABLE", "Catalogue", "Problem", "load_catalogue"]

ENTRY_POINTS: Final = "opaque_jobs.templates"
"""Entry-point group; each loads a folder (`pathlib.Path`) with one sub-folder per template."""
FOLDERS_VARIABLE: Final = "OPAQUE_JOBS_TEMPLATES"
"""Environment variable: folders of templates, separated like PATH."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A template that cannot be used, and why."""

    source: str
    message: str
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """All templates found.

    Args:
        templates: Usable ones, by name, newest version first.
        problems: The others.
    """

    templates: tuple[Template, ...]
    problems: tuple[Problem, ...]

    def find(self, name: str, version: str | None = None) -> Template:
        """Give a template; its newest version if none is named.

        Raises:
            NotFoundError: There is none.
        """
        for template in self.templates:
            if template.name == name and version in (None, template.version):
                return template
        raise NotFoundError(
            "there is no such template", hint="templates: " + ", ".join(sorted({t.name for t in self.templates})), kind="template"
        )

    def offered(self, allowed: Iterable[str] | None) -> tuple[Template, ...]:
        """Give those whose names a workspace's admins chose; all for None."""
        names = None if allowed is None else set(allowed)
        return tuple(template for template in self.templates if names is None or template.name in names)


def load_catalogue(folders: Iterable[Path] = (), *, environ: Mapping[str, str] | None = None) -> Catalogue:
    """Read all templates.

    Args:
        folders: More folders of templates.
        environ: For `OPAQUE_JOBS_TEMPLATES`; the process's if None.
    """
    found: dict[tuple[str, str], Template] = {}
    problems: list[Problem] = []
    clashes: set[tuple[str, str]] = set()
    for source, folder in _folders(folders, os.environ if environ is None else environ, problems):
        try:
            template = read_template(folder)
        except OpaqueJobsError as error:
            problems.append(Problem(source=f"{source}: {folder.name}", message=error.message, hint=error.hint))
            continue
        known = found.setdefault((template.name, template.version), template)
        if known.digest != template.digest:
            clashes.add((template.name, template.version))
    for name, version in sorted(clashes):
        problems.append(
            Problem(
                source=f"{name} {version}",
                message="two different templates have this name and version",
                hint="give one another name, or raise its version",
            )
        )
        del found[name, version]
    ordered = sorted(found.values(), key=lambda each: (each.name, [-int(part) for part in each.version.split(".")]))
    return Catalogue(templates=tuple(ordered), problems=tuple(problems))


def _folders(folders: Iterable[Path], environ: Mapping[str, str], problems: list[Problem]) -> Iterator[tuple[str, Path]]:
    sources = [("built in", BUILT_IN), *_installed(problems)]
    named = [Path(each) for each in environ.get(FOLDERS_VARIABLE, "").split(os.pathsep) if each]
    sources += [("folder", folder) for folder in (*named, *folders)]
    for source, folder in sources:
        try:
            inside = sorted(path for path in folder.iterdir() if (path / "template.json").is_file())
        except OSError:
            problems.append(
                Problem(source=source, message="a folder of templates cannot be read", hint=f"check {FOLDERS_VARIABLE}")
            )
            continue
        for path in inside:
            yield source, path


def _installed(problems: list[Problem]) -> list[tuple[str, Path]]:
    found: list[tuple[str, Path]] = []
    for point in entry_points(group=ENTRY_POINTS):
        try:
            folder = point.load()
        except Exception:  # noqa: BLE001 - a foreign package may raise anything; the rest must go on
            folder = None
        if not isinstance(folder, Path):
            problems.append(
                Problem(
                    source=f"entry point {point.name}",
                    message="a package's templates cannot be loaded",
                    hint="the entry point must name a pathlib.Path constant",
                )
            )
        else:
            found.append((f"entry point {point.name}", folder))
    return found
