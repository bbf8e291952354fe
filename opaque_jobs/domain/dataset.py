"""Data sets: what the owner signs about an encrypted version, and what the owner keeps to themselves."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from opaque_jobs.domain.canonical import canonical_bytes, digest
from opaque_jobs.domain.document import from_json, to_bytes, to_json
from opaque_jobs.domain.ids import check_identifier
from opaque_jobs.domain.row_rule import RowGroup, RowTest, check_size
from opaque_jobs.errors import InvalidInputError

__all__ = [
    "Column",
    "DatasetManifest",
    "Part",
    "ReleasePolicy",
    "SaltedPolicy",
    "Source",
    "TestDataKind",
]

PART_NAME: Final = re.compile(r"part-[0-9]{5}\.parquet")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_SALT: Final = re.compile(r"[0-9a-f]{64}")


class Source(StrEnum):
    """Where a data set came from."""

    LOCAL = "local"
    S3 = "s3"
    AZURE_BLOB = "azure_blob"
    GCS = "gcs"
    JOB_RESULT = "job_result"


class TestDataKind(StrEnum):
    """What stands in for the data in tests."""

    SYNTHETIC = "synthetic"
    MOCK = "mock"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A top-level column: name, and Arrow type as pyarrow writes it (`int64`, `decimal128(12, 2)`, `list<element: string>`)."""

    name: str
    type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One encrypted file.

    Args:
        name: `part-00000.parquet`, and so on.
        size_bytes: Its length.
        sha256: `sha256:<hex>` of its bytes.
        rows: Rows in it.
    """

    name: str
    size_bytes: int
    sha256: str
    rows: int

    def __post_init__(self) -> None:
        if not PART_NAME.fullmatch(self.name):
            raise InvalidInputError("a data file has an unexpected name", hint="names are part-00000.parquet and so on")


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetManifest:
    """What a member of the owning organisation signs about one version (the predicate; the subject is `digest`).

    Args:
        v: Format version, 1.
        dataset_id: The data set.
        dataset_version: 1, 2, ...; a refresh makes a new one.
        organisation_id: Its owner.
        name: Identifier by which jobs refer to it.
        columns: All columns, in file order.
        parts: All files, in order; at least one (an empty data set has one file of no rows).
        rows: Rows in all.
        policy_commitment: Commits its owner to what is released of it, see `SaltedPolicy`.
        created_at: UTC, RFC 3339.

    Raises:
        InvalidInputError: An invariant does not hold.
    """

    v: int
    dataset_id: str
    dataset_version: int
    organisation_id: str
    name: str
    columns: tuple[Column, ...]
    parts: tuple[Part, ...]
    rows: int
    policy_commitment: str
    created_at: str

    def __post_init__(self) -> None:
        check_identifier(self.name, what="data set")
        names = [column.name for column in self.columns]
        files = [part.name for part in self.parts]
        if (
            self.v != 1
            or self.dataset_version < 1
            or not names
            or len(set(names)) != len(names)
            or not files
            or len(set(files)) != len(files)
            or sum(part.rows for part in self.parts) != self.rows
            or not _DIGEST.fullmatch(self.policy_commitment)
        ):
            raise InvalidInputError(
                "the data set's manifest is not consistent", hint="each column and file once; rows must add up"
            )

    def to_bytes(self) -> bytes:
        """Give the canonical bytes."""
        return to_bytes(self)

    @property
    def digest(self) -> str:
        """Digest of the canonical bytes: pinned in job specs."""
        return digest(self.to_bytes())

    @property
    def schema_digest(self) -> str:
        """Digest of all columns' names and types, in order: what a refresh must keep."""
        return digest(canonical_bytes(to_json(self.columns)))

    @staticmethod
    def parse(predicate: object) -> "DatasetManifest":
        """Parse an untrusted predicate.

        Raises:
            InvalidInputError: Not a manifest.
        """
        return from_json(DatasetManifest, predicate, what="data set manifest")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleasePolicy:
    """What the owner's broker releases of a data set; only the owner sees it.

    Args:
        columns: Columns that jobs may use.
        row_rule: Only rows that fulfil it are seen by jobs; None for all rows.

    Raises:
        InvalidInputError: The rule is larger than anybody writes.
    """

    columns: tuple[str, ...]
    row_rule: RowTest | RowGroup | None

    def __post_init__(self) -> None:
        check_size(self.row_rule)

    def to_json(self) -> object:
        """Give the JSON form."""
        return to_json(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class SaltedPolicy:
    """A release policy with what hides it in its commitment; known to its owner, their broker, and enclaves that get keys.

    The salt belongs to the policy: a refresh under the same policy keeps the commitment, and so the approval of jobs that follow
    the data set. Every policy has one, so that nobody learns whether there is a row condition at all.

    Args:
        policy: What may be released.
        salt: 32 random bytes as lower-case hexadecimal digits.

    Raises:
        InvalidInputError: The salt is none.
    """

    policy: ReleasePolicy
    salt: str

    def __post_init__(self) -> None:
        if not _SALT.fullmatch(self.salt):
            raise InvalidInputError("a release policy has no valid salt", hint="was it written by another version?")

    @property
    def commitment(self) -> str:
        """`sha256:<hex>` that binds to exactly this policy and, without the salt, tells nothing about it."""
        return digest(canonical_bytes({"what": "opaque-jobs release policy", **to_json(self)}))
