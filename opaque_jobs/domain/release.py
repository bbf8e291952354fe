"""What a key broker says of its own accord, and what stops it: of a release, of keys destroyed, and its owner's hold."""

from dataclasses import dataclass
from enum import StrEnum

from opaque_jobs.domain.canonical import digest
from opaque_jobs.domain.document import from_json, to_bytes
from opaque_jobs.domain.inputs import parse_datetime
from opaque_jobs.errors import InvalidInputError

__all__ = ["Erasure", "Hold", "HoldScope", "Release", "parse_erasure", "parse_hold", "parse_release"]


class HoldScope(StrEnum):
    """How much an owner holds back."""

    ALL = "all"
    DATASET = "dataset"
    JOB = "job"
    ROSTER = "roster"


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Predicate of a release, signed by the broker before any key leaves; its subject is the job digest.

    Args:
        v: Format version, 1.
        organisation_id: Whose broker.
        workspace_id: The workspace in whose log it must stand.
        run_id: The run.
        tee_key_id: Id of the enclave's keys, see `TeePublicKeys.key_id`.
        datasets: `<id>/<version>` -> commitment to what is released of it, see `SaltedPolicy`.
        released_at: UTC, RFC 3339.
    """

    v: int
    organisation_id: str
    workspace_id: str
    run_id: str
    tee_key_id: str
    datasets: dict[str, str]
    released_at: str

    def __post_init__(self) -> None:
        _check(self.v, self.released_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """Predicate by which a broker says that it has destroyed all keys of a data set, and will never hold one again.

    Args:
        v: Format version, 1.
        organisation_id: Whose broker.
        dataset_id: The data set, all versions.
        versions: Those whose keys it held.
        erased_at: UTC, RFC 3339.
    """

    v: int
    organisation_id: str
    dataset_id: str
    versions: tuple[int, ...]
    erased_at: str

    def __post_init__(self) -> None:
        _check(self.v, self.erased_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Predicate by which an owner stops their broker, or lets it go on.

    A hold counts when it comes and until a lift names it, so neither clocks nor the order of arrival decide anything.

    Args:
        v: Format version, 1.
        organisation_id: Whose broker.
        scope: Everything, one data set, one job, or a member list, which is then never believed.
        subject: Id of the data set, id of the job or digest of one revision, digest of the list, or the organisation's id for
            everything.
        held: False lets it go on.
        lifts: Digests of the holds on this subject that a lift ends; none for a hold.
        nonce: Random text, so that a hold said again is another one.
        issued_at: UTC, RFC 3339; for people.
    """

    v: int
    organisation_id: str
    scope: HoldScope
    subject: str
    held: bool
    lifts: tuple[str, ...]
    nonce: str
    issued_at: str

    def __post_init__(self) -> None:
        _check(self.v, self.issued_at)
        if (self.scope is HoldScope.ALL) != (self.subject == self.organisation_id):
            raise InvalidInputError("a hold does not say what is held", hint="name a data set, a job, or nothing for all")
        if self.held is bool(self.lifts):
            raise InvalidInputError("a hold lifts nothing, and a lift names the holds that it lifts", hint="sign it again")

    @property
    def digest(self) -> str:
        """What a lift names it by."""
        return digest(to_bytes(self))


def _check(v: int, moment: str) -> None:
    try:
        parse_datetime(moment)
    except ValueError:
        v = 0
    if v != 1:
        raise InvalidInputError("a broker's statement has an unknown version or no valid date", hint="make it again")


def parse_release(predicate: object) -> Release:
    """Parse an untrusted predicate.

    Raises:
        InvalidInputError: Not a release.
    """
    return from_json(Release, predicate, what="release")


def parse_erasure(predicate: object) -> Erasure:
    """Parse an untrusted predicate.

    Raises:
        InvalidInputError: Not an erasure.
    """
    return from_json(Erasure, predicate, what="erasure")


def parse_hold(predicate: object) -> Hold:
    """Parse an untrusted predicate.

    Raises:
        InvalidInputError: Not a hold.
    """
    return from_json(Hold, predicate, what="hold")
