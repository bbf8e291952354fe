"""What a member's own client remembers: one locked file beside their key, which nobody else writes.

A database may hide or change what was signed and seen; this file does not. Each method is one transaction: two commands at once
lose nothing, and a crash leaves all of it or nothing. The log's heads move only from what was read (`advance_log_head`).
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from opaque_jobs.client.memory_file import MemoryFile
from opaque_jobs.client.showing import Shown
from opaque_jobs.domain.canonical import digest
from opaque_jobs.domain.job import JobSpec
from opaque_jobs.domain.review import NamedJob
from opaque_jobs.domain.workspace import MemberEntry, Roster, parse_roster
from opaque_jobs.errors import TrustError
from opaque_jobs.settings import Settings

__all__ = ["AgreedList", "Consent", "Memory", "TakenBack", "memory_path", "own_memory"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """One job document that a member's client signed something about.

    Args:
        job: What it is.
        name: What the job was called in it; empty for a document that this client never read.
        withdrawal: The envelope by which consent was taken back; None while it stands.
    """

    job: NamedJob
    name: str
    withdrawal: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenBack:
    """A member list that a member signed and took back.

    Args:
        workspace_id: Whose list.
        digest: Which.
        hold: The envelope that tells the own broker never to believe it.
    """

    workspace_id: str
    digest: str
    hold: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreedList:
    """A member list with everybody's signature.

    Args:
        text: Its canonical JSON text.
        acceptances: One by each member in it.
    """

    text: str
    acceptances: tuple[str, ...]

    @property
    def roster(self) -> Roster:
        """What it says."""
        return parse_roster(self.text.encode())


class Memory:
    """One member's memory. Nothing is written before there is something to remember.

    Args:
        path: The file; private to its owner (0600).

    Raises:
        ConfigurationError: From every method: the file is damaged, in use for long, of a newer version, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._file = MemoryFile(path)

    def consents(self) -> tuple[Consent, ...]:
        """Return all that was signed about jobs, oldest first."""
        with self._file.reading() as rows:
            found = rows.execute("SELECT workspace_id, job_id, digest, name, withdrawal FROM consents ORDER BY id").fetchall()
        return tuple(
            Consent(job=NamedJob(workspace_id=workspace, job_id=job, digest=which), name=name, withdrawal=withdrawal)
            for workspace, job, which, name, withdrawal in found
        )

    def remember_consent(self, jobs: Iterable[JobSpec | NamedJob], *, withdrawal: bytes | None) -> None:
        """Keep what is signed about jobs, before it leaves; a kept withdrawal stays until another takes its place."""
        text = None if withdrawal is None else withdrawal.decode()
        with self._file.writing() as rows:
            for job in jobs:
                rows.execute(
                    "INSERT INTO consents (digest, workspace_id, job_id, name, withdrawal) VALUES (?, ?, ?, ?, ?) "
                    "ON CONFLICT (digest) DO UPDATE SET withdrawal = coalesce(excluded.withdrawal, withdrawal), "
                    "name = CASE excluded.name WHEN '' THEN name ELSE excluded.name END",
                    (job.digest, job.workspace_id, job.job_id, job.name if isinstance(job, JobSpec) else "", text),
                )

    def signed_lists(self) -> tuple[Roster, ...]:
        """Return the last member list of every workspace that was signed.

        Raises:
            TrustError: One is not what was signed.
        """
        with self._file.reading() as rows:
            found = rows.execute("SELECT digest, roster FROM signed_lists ORDER BY id").fetchall()
        for signed, text in found:
            if digest(text.encode()) != signed:
                raise TrustError("the member list that is kept beside your key is not the one you signed", hint="was it changed?")
        return tuple(parse_roster(text.encode()) for _, text in found)

    def last_signed(self, workspace_id: str) -> Roster | None:
        """Return the last list of a workspace that was signed, if any. Raises as `signed_lists`."""
        return next((each for each in self.signed_lists() if each.workspace_id == workspace_id), None)

    def remember_list(self, roster: Roster) -> None:
        """Keep the member list that is signed, before the signature leaves."""
        with self._file.writing() as rows:
            rows.execute(
                "INSERT OR REPLACE INTO signed_lists (workspace_id, digest, roster) VALUES (?, ?, ?)",
                (roster.workspace_id, roster.digest, roster.to_bytes().decode()),
            )

    def lists_taken_back(self) -> tuple[TakenBack, ...]:
        """Return the member lists that were taken back, oldest first."""
        with self._file.reading() as rows:
            found = rows.execute("SELECT workspace_id, digest, hold FROM lists_taken_back ORDER BY id").fetchall()
        return tuple(TakenBack(workspace_id=workspace, digest=which, hold=hold) for workspace, which, hold in found)

    def remember_taken_back(self, roster: Roster, hold: bytes) -> TakenBack:
        """Keep that a list was taken back, before anybody is told."""
        said = TakenBack(workspace_id=roster.workspace_id, digest=roster.digest, hold=hold.decode())
        with self._file.writing() as rows:
            rows.execute(
                "INSERT OR REPLACE INTO lists_taken_back (workspace_id, digest, hold) VALUES (?, ?, ?)",
                (said.workspace_id, said.digest, said.hold),
            )
        return said

    def remember_hold(self, roster_digest: str, hold: bytes) -> None:
        """Keep a newer envelope about a list that was taken back, if it is one."""
        with self._file.writing() as rows:
            rows.execute("UPDATE lists_taken_back SET hold = ? WHERE digest = ?", (hold.decode(), roster_digest))

    def forget_taken_back(self, roster_digest: str) -> None:
        """Let a list be signed again: it was in force already, or its hold is lifted."""
        with self._file.writing() as rows:
            rows.execute("DELETE FROM lists_taken_back WHERE digest = ?", (roster_digest,))

    def agreed_lists(self) -> tuple[AgreedList, ...]:
        """Return the member lists that were seen signed by all, this member with them, by epoch."""
        with self._file.reading() as rows:
            found = rows.execute("SELECT roster, acceptances FROM agreed_lists ORDER BY epoch, id").fetchall()
            return tuple(AgreedList(text=text, acceptances=tuple(json.loads(signed))) for text, signed in found)

    def agreed_list(self, workspace_id: str) -> AgreedList | None:
        """Return the last of a workspace; None if none was seen."""
        found = [each for each in self.agreed_lists() if each.roster.workspace_id == workspace_id]
        return found[-1] if found else None

    def keep_list(self, roster: Roster, acceptances: Iterable[bytes]) -> None:
        """Keep a list whose signatures the caller has verified; all earlier ones stay: brokers ask for them."""
        with self._file.writing() as rows:
            rows.execute(
                "INSERT OR IGNORE INTO agreed_lists (digest, epoch, roster, acceptances) VALUES (?, ?, ?, ?)",
                (roster.digest, roster.epoch, roster.to_bytes().decode(), json.dumps([each.decode() for each in acceptances])),
            )

    def remember_draft(self, workspace_id: str, job_id: str, draft_digest: str) -> None:
        """Keep the digest of a draft that was written here, in place of the job's draft before."""
        with self._file.writing() as rows:
            rows.execute("INSERT OR REPLACE INTO drafts VALUES (?, ?, ?)", (job_id, workspace_id, draft_digest))

    def wrote_draft(self, workspace_id: str, job_id: str, draft_digest: str) -> bool:
        """Tell whether this is the draft of that job as it was last written here."""
        with self._file.reading() as rows:
            found = rows.execute("SELECT workspace_id, digest FROM drafts WHERE job_id = ?", (job_id,)).fetchone()
        return bool(found == (workspace_id, draft_digest))

    def log_head(self, workspace_id: str) -> str | None:
        """Return the last checkpoint of a log that was verified (`Checkpoint.seen`); None before the first."""
        with self._file.reading() as rows:
            found = rows.execute("SELECT seen FROM log_heads WHERE workspace_id = ?", (workspace_id,)).fetchone()
        return None if found is None else str(found[0])

    def advance_log_head(self, workspace_id: str, *, before: str | None, after: str) -> bool:
        """Move a log's head on from the one that `after` was proved to continue; False, and nothing done, if it has moved."""
        with self._file.writing() as rows:
            if before is None:
                moved = rows.execute("INSERT OR IGNORE INTO log_heads VALUES (?, ?)", (workspace_id, after))
            else:
                given = (after, workspace_id, before)
                moved = rows.execute("UPDATE log_heads SET seen = ? WHERE workspace_id = ? AND seen = ?", given)
            return moved.rowcount == 1

    def shown(self) -> tuple[Shown, ...]:
        """Return what was displayed to this member to be signed: the last document of each subject, newest last."""
        with self._file.reading() as rows:
            found = rows.execute("SELECT subject, name, digest FROM shown ORDER BY id").fetchall()
        return tuple(Shown(subject=subject, name=name, digest=which) for subject, name, which in found)

    def signed(self) -> frozenset[str]:
        """Return the digests of the job documents and member lists that were signed."""
        with self._file.reading() as rows:
            found = rows.execute(
                "SELECT digest FROM consents UNION SELECT digest FROM signed_lists UNION SELECT digest FROM agreed_lists"
            )
            return frozenset(str(each) for (each,) in found)

    def remember_shown(self, document: Shown) -> None:
        """Keep that a document was displayed, in place of what was displayed of its subject before."""
        with self._file.writing() as rows:
            rows.execute(
                "INSERT OR REPLACE INTO shown (subject, name, digest) VALUES (?, ?, ?)",
                (document.subject, document.name, document.digest),
            )

    def stolen_keys(self) -> frozenset[str]:
        """Return the ids of own former keys that somebody else may hold."""
        with self._file.reading() as rows:
            return frozenset(str(each) for (each,) in rows.execute("SELECT key_id FROM stolen_keys"))

    def remember_stolen(self, key_id: str) -> None:
        """Keep that somebody else may hold a key: nothing that it signed is signed again."""
        with self._file.writing() as rows:
            rows.execute("INSERT OR IGNORE INTO stolen_keys VALUES (?)", (key_id,))

    def policies(self, dataset_id: str) -> tuple[bytes, ...]:
        """Return the release policies that a data set had, oldest first."""
        with self._file.reading() as rows:
            found = rows.execute("SELECT document FROM policies WHERE dataset_id = ? ORDER BY id", (dataset_id,)).fetchall()
        return tuple(str(each).encode() for (each,) in found)

    def keep_policy(self, dataset_id: str, commitment: str, document: bytes) -> None:
        """Keep a data set's release policy beside those that it had before."""
        with self._file.writing() as rows:
            given = (dataset_id, commitment, document.decode())
            rows.execute("INSERT OR IGNORE INTO policies (dataset_id, commitment, document) VALUES (?, ?, ?)", given)

    def organisation(self) -> bytes | None:
        """Return what the member was told of their own organisation; None if nothing was."""
        with self._file.reading() as rows:
            found = rows.execute("SELECT document FROM organisation").fetchone()
        return None if found is None else str(found[0]).encode()

    def remember_organisation(self, document: bytes) -> None:
        """Keep what the member's own organisation is, in place of what was kept before."""
        with self._file.writing() as rows:
            rows.execute("INSERT OR REPLACE INTO organisation VALUES (1, ?)", (document.decode(),))


def memory_path(settings: Settings, name: str) -> Path:
    """Return the path of what the client of the member of this name remembers."""
    return settings.keys_dir / f"{name}.memory.db"


def own_memory(settings: Settings, member: MemberEntry) -> Memory:
    """Return what a member's client remembers."""
    return Memory(memory_path(settings, member.name))
