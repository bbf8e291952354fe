"""The DAG files that Airflow sees, one a job, and the journal from which any earlier set of them can be written again.

A file holds ids only. The journal is a line per change, each chained to the one before by its digest; a bundle version is
`<line number>-<chained digest>`. So a version costs one line however many jobs there are, is the same wherever the journal is
replayed, and cannot come to mean something else.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.util import cache_from_source
from pathlib import Path
from typing import Final, Self

from opaque_jobs.domain.canonical import canonical_bytes
from opaque_jobs.domain.lifecycle import JobStatus
from opaque_jobs.errors import InvalidInputError, NotFoundError
from opaque_jobs.protocol.views import DeployableRevision

__all__ = ["Journal", "Stub", "deployable_stubs", "sync_folder"]

_SAFE_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,99}")
_SAFE_MARKER: Final = re.compile(r"[A-Za-z0-9_.:+@/-]{0,150}")
_TEXT: Final = '''"""An Airflow DAG, made by opaque-jobs from its own database. Ids only."""

from opaque_jobs.airflow.dags import build_dag

dag = build_dag(job_id="{job_id}", revision={revision})  # {marker}
'''


@dataclass(frozen=True, slots=True, kw_only=True)
class Stub:
    """One job's DAG file.

    Args:
        job_id: The job.
        revision: Its revision under review or accepted.
        marker: Changes whenever the DAG must be made again (a status, for example); Airflow then sees another file.

    Raises:
        InvalidInputError: An id could be more than an id.
    """

    job_id: str
    revision: int
    marker: str

    def __post_init__(self) -> None:
        if not (_SAFE_ID.fullmatch(self.job_id) and _SAFE_MARKER.fullmatch(self.marker) and self.revision >= 1):
            raise InvalidInputError("a job's id or marker cannot stand in a DAG file", hint="was the database edited by hand?")

    @property
    def file_name(self) -> str:
        """Name of the file; the same for all revisions of a job, since Airflow looks old revisions up by it."""
        return f"{self.job_id}.py"

    @property
    def text(self) -> str:
        """Content of the file."""
        return _TEXT.format(job_id=self.job_id, revision=self.revision, marker=self.marker)


def sync_folder(folder: Path, stubs: Iterable[Stub]) -> None:
    """Make the folder hold exactly these files. A file that is right already keeps its time, and is not parsed again."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    wanted = {stub.file_name: stub.text for stub in stubs}
    for path in folder.glob("*.py"):
        if path.name not in wanted:
            path.unlink()
    for name, text in wanted.items():
        path = folder / name
        if not path.exists() or path.read_text() != text:
            _replace(path, text)


def _replace(path: Path, text: str) -> None:
    """Write a file anew; Python tells its compiled form from an older file's by whole seconds, so the time must differ."""
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text)
    written = beside.stat().st_mtime
    before = path.stat().st_mtime if path.exists() else 0.0
    if int(before) >= int(written):
        os.utime(beside, (before + 1, before + 1))
    Path(cache_from_source(str(path))).unlink(missing_ok=True)
    beside.replace(path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """Every set of DAG files there ever was, replayed up to one version.

    Args:
        path: The file of lines.
        version: `<number of lines>-<digest>`; `0-` and the digest of nothing for an empty journal.
        stubs: Job id -> its file at that version.
    """

    path: Path
    version: str
    stubs: Mapping[str, Stub]

    @classmethod
    def read(cls, path: Path, *, version: str | None = None) -> Self:
        """Replay the journal, up to the version or to the end.

        Raises:
            NotFoundError: It never was at that version.
        """
        lines = path.read_text().splitlines() if path.exists() else []
        stubs: dict[str, Stub] = {}
        chain = hashlib.sha256(b"").hexdigest()
        reached = _version(0, chain)
        for number, line in enumerate(lines, start=1):
            if reached == version:
                break
            for change in json.loads(line):
                stubs.pop(change["job_id"], None)
                if change["revision"] is not None:
                    stubs[change["job_id"]] = Stub(**change)
            chain = hashlib.sha256((chain + line).encode()).hexdigest()
            reached = _version(number, chain)
        if version not in (None, reached):
            raise NotFoundError(
                "this machine does not know the DAG bundle's version",
                hint="give all Airflow workers the same OPAQUE_JOBS_HOME, or start a new run",
            )
        return cls(path=path, version=reached, stubs=stubs)

    def advance(self, stubs: Iterable[Stub]) -> Self:
        """Append what changed, and give the journal at its new version. The caller holds the bundle's lock."""
        wanted = {stub.job_id: stub for stub in stubs}
        changes = [
            {"job_id": stub.job_id, "revision": stub.revision, "marker": stub.marker}
            for stub in sorted(wanted.values(), key=lambda stub: stub.job_id)
            if self.stubs.get(stub.job_id) != stub
        ]
        changes += [{"job_id": job_id, "revision": None, "marker": None} for job_id in sorted(set(self.stubs) - set(wanted))]
        if not changes:
            return self
        with self.path.open("a") as file:
            file.write(canonical_bytes(changes).decode() + "\n")
        return self.read(self.path)


def _version(number: int, chain: str) -> str:
    return f"{number}-{chain[:16]}"


def deployable_stubs(revisions: Iterable[DeployableRevision]) -> tuple[Stub, ...]:
    """Give one file a job: of its accepted revision, or else of the one under review.

    While a new revision is under review, the accepted one keeps the job's DAG, so that approved reruns go on.
    """
    chosen: dict[str, DeployableRevision] = {}
    for each in sorted(revisions, key=lambda each: (each.job_id, each.status == JobStatus.ACCEPTED, each.revision)):
        chosen[each.job_id] = each
    return tuple(Stub(job_id=each.job_id, revision=each.revision, marker=each.marker) for each in chosen.values())
