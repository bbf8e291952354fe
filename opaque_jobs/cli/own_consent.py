"""What a member's own client remembers of their consent: whatever it approved, and whatever it took back.

A database may forget a job or say that it is over; this file does not. It lies beside the member's key; nobody else writes it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from opaque_jobs.cli.own_memory import read_own, write_own
from opaque_jobs.domain.job import JobSpec
from opaque_jobs.domain.review import NamedJob
from opaque_jobs.domain.workspace import MemberEntry
from opaque_jobs.settings import Settings

__all__ = ["OwnConsent", "consents", "remember"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnConsent:
    """One job document that this member's client signed something about.

    Args:
        job: What it is.
        name: What the job was called in it; empty for a document that this client never read.
        withdrawal: The envelope by which consent was taken back; None while it stands.
    """

    job: NamedJob
    name: str
    withdrawal: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    v: int
    consents: tuple[OwnConsent, ...]


def consents(settings: Settings, member: MemberEntry) -> tuple[OwnConsent, ...]:
    """Give all that a member's client has signed, oldest first.

    Raises:
        ConfigurationError: What is remembered cannot be read.
        InvalidInputError: It is damaged.
    """
    return read_own(_path(settings, member), _Kept, _Kept(v=1, consents=())).consents


def remember(settings: Settings, member: MemberEntry, jobs: Iterable[JobSpec | NamedJob], *, withdrawal: bytes | None) -> None:
    """Keep that a member signs about jobs, before it leaves; a kept withdrawal stays until another takes its place.

    Raises:
        ConfigurationError: It cannot be read or written.
        InvalidInputError: What is remembered is damaged.
    """
    kept = {each.job.digest: each for each in consents(settings, member)}
    text = None if withdrawal is None else withdrawal.decode()
    for job in jobs:
        named = NamedJob(workspace_id=job.workspace_id, job_id=job.job_id, digest=job.digest)
        before = kept.get(job.digest, OwnConsent(job=named, name="", withdrawal=None))
        name = job.name if isinstance(job, JobSpec) else before.name
        kept[job.digest] = replace(before, name=name, withdrawal=text or before.withdrawal)
    write_own(_path(settings, member), _Kept(v=1, consents=tuple(kept.values())))


def _path(settings: Settings, member: MemberEntry) -> Path:
    return settings.keys_dir / f"{member.name}.consent.json"
