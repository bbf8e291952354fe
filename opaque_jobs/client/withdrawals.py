"""Consent taken back as a member does it: signed, kept beside the own key, told to every broker, and only then recorded.

Nothing here waits for the database: who can write it could deny a withdrawal, and what decides is what brokers know.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime

from opaque_jobs.client.holds import tell_taken_back
from opaque_jobs.client.keys import own_key_ids, present_key_id
from opaque_jobs.client.memory import Consent, own_memory
from opaque_jobs.client.organisation import pinned_organisation
from opaque_jobs.client.session import Session
from opaque_jobs.client.signed_lists import list_for_brokers, overridden_list
from opaque_jobs.client.telling import push
from opaque_jobs.crypto.consent import sign_withdrawal, verify_withdrawal
from opaque_jobs.crypto.keys import Signer
from opaque_jobs.crypto.signing import claimed_key_id
from opaque_jobs.domain.job import JobSpec, parse_job_spec
from opaque_jobs.domain.review import NamedJob
from opaque_jobs.domain.workspace import MemberEntry, Roster, parse_roster
from opaque_jobs.errors import ConflictError, InvalidInputError, NotFoundError, OpaqueJobsError, TrustError
from opaque_jobs.protocol.views import BrokerPush, ReviewView
from opaque_jobs.settings import Settings

__all__ = ["shown_revisions", "taken_back", "tell_withdrawals", "to_take_back", "withdraw_consent"]


def withdraw_consent(session: Session, member: MemberEntry, signer: Signer, job_id: str) -> ReviewView | None:
    """Withdraw consent to a job for good, to every revision of it, whatever state the database says that they are in.

    Revisions that the database does not show any more are withdrawn too, if this member's client signed them.

    Returns:
        The review of its last revision; None where the database does not show one; brokers were told all the same.

    Raises:
        NotFoundError: Neither the database nor this member's client knows a revision of such a job.
        ConfigurationError: A broker cannot be reached; the withdrawal is recorded all the same.
    """
    shown, jobs = shown_revisions(session, job_id), to_take_back(session, member, job_id)
    if not jobs:
        raise NotFoundError("nothing of such a job was ever submitted for review", hint="see 'opaque-jobs job list'")
    with taken_back(session, member, signer, jobs) as envelopes:
        for job, envelope in zip(jobs, envelopes, strict=True):
            if job in shown:
                session.reviews.withdraw(job_id=job_id, envelope=envelope)
        try:
            return session.reviews.status(job_id) if shown else None
        except InvalidInputError:
            return None


def to_take_back(
    session: Session, member: MemberEntry, job_id: str, *, shown: Iterable[NamedJob] | None = None, staying: Collection[str] = ()
) -> list[NamedJob]:
    """Give the documents of a job that this member's client signed, and those that the database shows, oldest first.

    Args:
        session: The member's.
        member: Whose consent.
        job_id: The job.
        shown: Of those that the database shows, these; None for all.
        staying: Digests of those to which consent stays.
    """
    own = [each.job for each in own_memory(session.settings, member).consents() if each.job.job_id == job_id]
    found = [*own, *(shown_revisions(session, job_id) if shown is None else shown)]
    return [each for each in dict.fromkeys(found) if each.digest not in staying]


def tell_withdrawals(session: Session, member: MemberEntry, workspace_id: str) -> None:
    """Tell brokers the member list, and every withdrawal of it that the database or this member's own client knows.

    The own broker is told first of the lists that this member took back.

    Raises:
        ConfigurationError: A broker cannot be reached; the others have been told.
        TrustError: One does not believe it; the others have been told. Or a withdrawal that this member signed was left out.
    """
    settings = session.settings
    back = [each for each in own_memory(settings, member).lists_taken_back() if each.workspace_id == workspace_id]
    kept = [each for each in own_memory(settings, member).consents() if each.withdrawal and each.job.workspace_id == workspace_id]
    problem: OpaqueJobsError | None = None
    try:
        tell_taken_back(settings, member, back)
    except OpaqueJobsError as error:
        problem = error
    try:
        known: BrokerPush | None = list_for_brokers(session, member, workspace_id)
    except (ConflictError, NotFoundError):
        if kept or not back:  # else it may be that no list of the workspace was ever in force
            raise
        known = None
    try:
        if known is not None:
            _tell_withdrawals(settings, member, known, kept)
    except OpaqueJobsError as error:
        raise error if problem is None else problem.also(error) from None
    if problem is not None:
        raise problem


def _tell_withdrawals(settings: Settings, member: MemberEntry, known: BrokerPush, kept: Sequence[Consent]) -> None:
    roster = parse_roster(known.roster)
    own = [each.withdrawal.encode() for each in kept if each.withdrawal and _holds(each, roster)]
    told = replace(known, withdrawals=tuple(dict.fromkeys([*own, *known.withdrawals])))
    push(told, pinned_organisation(settings, member), keys=own_key_ids(settings, member))
    # What a former key signed is of an earlier member list, in which nothing runs any more.
    present = {present_key_id(settings, member.name), *(each.key_id for each in roster.members if each.id == member.id)}
    signers = {claimed_key_id(each.withdrawal.encode()) for each in kept if each.withdrawal and not _holds(each, roster)}
    if not present.isdisjoint(signers):
        raise TrustError(
            "a withdrawal that you signed does not hold beside the member list, and was told to nobody",
            hint="was the database changed? 'opaque-jobs consent withdraw' signs it again",
        )


@contextmanager
def taken_back(
    session: Session, member: MemberEntry, signer: Signer, jobs: Sequence[JobSpec | NamedJob]
) -> Iterator[list[bytes]]:
    """Sign withdrawals, keep them, and tell every broker; then the body records them, also if a broker is away.

    What the present key signed before is sent again. What a former key signed brokers would not believe beside this member list,
    nor anything that comes with it: it is signed anew.

    Raises:
        ConfigurationError: A broker cannot be reached; the others have been told, and the body is done.
        TrustError: A broker does not believe it; likewise.
        OpaqueJobsError: What the body raises, and what went wrong with brokers: both are told.
    """
    settings = session.settings
    kept = {each.job.digest: each.withdrawal.encode() for each in own_memory(settings, member).consents() if each.withdrawal}
    envelopes = []
    for job in jobs:
        envelope = kept.get(job.digest)
        if envelope is None or claimed_key_id(envelope) != member.key_id:
            envelope = sign_withdrawal(job, member, signer, now=datetime.now(UTC))
            own_memory(settings, member).remember_consent([job], withdrawal=envelope)
        envelopes.append(envelope)
    problem = _tell_all(session, member, list(zip(jobs, envelopes, strict=True)))
    try:
        yield envelopes
    except OpaqueJobsError as error:
        raise error if problem is None else error.also(problem) from None
    except BaseException as error:
        if problem is None:
            raise
        raise problem.also(_unexpected(error)) from error
    if problem is not None:
        raise problem


def _tell_all(
    session: Session, member: MemberEntry, signed: Sequence[tuple[JobSpec | NamedJob, bytes]]
) -> OpaqueJobsError | None:
    """Tell every broker what was signed, and return what went wrong, all of it in one."""
    settings, problem = session.settings, None
    # Each is told beside its own workspace's list: jobs of several may go by one id, and none keeps another from brokers.
    for workspace_id in dict.fromkeys(job.workspace_id for job, _ in signed):
        given = tuple(each for job, each in signed if job.workspace_id == workspace_id)
        for known in (list_for_brokers, overridden_list):
            try:
                if told := known(session, member, workspace_id):
                    told = replace(told, withdrawals=given)
                    push(told, pinned_organisation(settings, member), keys=own_key_ids(settings, member))
            except OpaqueJobsError as error:
                problem = error if problem is None else problem.also(error)
    return problem


def _unexpected(error: BaseException) -> OpaqueJobsError:
    """Name what ended the work by its type alone: its text could hold a value."""
    return OpaqueJobsError(f"it ended before all was recorded ({type(error).__name__})", hint="say it again")


def shown_revisions(session: Session, job_id: str, *, epoch: int | None = None) -> list[NamedJob]:
    """Give the revisions that the database shows of a job and that are its own, of one epoch or of all; none if it knows no job.

    What is no job document is left out: one such row would keep consent to the others from being taken back.
    """
    try:
        shown = session.jobs.show(job_id)
    except OpaqueJobsError:
        return []
    found = []
    for each in shown.revisions:
        with suppress(OpaqueJobsError):
            spec = parse_job_spec(each.spec_bytes)
            if (spec.job_id, spec.workspace_id) == (job_id, shown.workspace_id) and epoch in (None, spec.epoch):
                found.append(NamedJob(workspace_id=spec.workspace_id, job_id=job_id, digest=spec.digest))
    return found


def _holds(consent: Consent, roster: Roster) -> bool:
    """Tell whether brokers believe a withdrawal beside this member list: one that they do not would keep the others from them."""
    try:
        verify_withdrawal((consent.withdrawal or "").encode(), job_digest=consent.job.digest, roster=roster)
    except OpaqueJobsError:
        return False
    return True
