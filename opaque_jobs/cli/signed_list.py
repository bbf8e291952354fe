"""The member list as a member signed it: what they know beforehand of a workspace, whatever the services show.

Trust: a list counts for a member when all that it names signed it, and the key by which it names this member is one of the key
files here. Of the own organisation the member knows more than any list says: what is pinned beside their key.
"""

import contextlib
from collections.abc import Iterable

from opaque_jobs.cli.own_organisation import pinned_organisation
from opaque_jobs.cli.session import own_key_ids
from opaque_jobs.crypto.consent import roster_refusals
from opaque_jobs.domain.receipt_trust import ReceiptTrust
from opaque_jobs.domain.review import parse_bundle
from opaque_jobs.domain.workspace import MemberEntry, Roster, parse_roster
from opaque_jobs.errors import InvalidInputError, TrustError
from opaque_jobs.services import Services
from opaque_jobs.services.attesting import believed_keys
from opaque_jobs.services.views import ReceiptContext
from opaque_jobs.settings import Settings

__all__ = ["anchors_in", "known_beforehand", "signed_list"]


def signed_list(settings: Settings, member: MemberEntry, data: bytes, acceptances: Iterable[bytes]) -> Roster:
    """Give a member list after verifying that this member, with a key of this home, and all others signed it.

    Raises:
        InvalidInputError: No member list.
        NotFoundError: The member's key file is not here.
        TrustError: Somebody did not sign it, or it names the member by a key that is not theirs.
    """
    keys, roster = own_key_ids(settings, member), parse_roster(data)
    mine = [each.key_id for each in roster.members if each.id == member.id]
    if roster_refusals(roster, acceptances) or not keys.intersection(mine):
        raise TrustError(
            "the member list is not one that you and all its members signed",
            hint="rely on nothing that it says: was the database changed? compare with 'opaque-jobs workspace show'",
        )
    return roster


def anchors_in(settings: Settings, member: MemberEntry, roster: Roster) -> ReceiptTrust:
    """Give what a member who signed this list knows beforehand of its receipts; of the own broker, what is pinned.

    Raises:
        NotFoundError: The member was told nothing of their own organisation yet.
        TrustError: The services say that the member is of another organisation than the pinned one.
    """
    own = pinned_organisation(settings, member).entry
    listed = {each.id: each.broker_signing_key for each in roster.organisations}
    return ReceiptTrust(
        v=1,
        workspace_genesis=roster.genesis_digest,
        log_key=roster.log_key,
        brokers=listed | {own.id: own.broker_signing_key},
        simulated_keys=tuple(key.text for key in believed_keys(settings)),
    )


def known_beforehand(opened: Services, member: MemberEntry, context: ReceiptContext) -> ReceiptTrust:
    """Give what a member knows beforehand of one run: by the list of its epoch if they signed that, else by the present one.

    Raises:
        NotFoundError: The member's key file is not here, or they were told nothing of their own organisation yet.
        TrustError: The member signed neither list.
    """
    settings = opened.context.settings
    with contextlib.suppress(InvalidInputError, TrustError):
        then = parse_bundle(context.bundle_bytes)
        signed = [each.encode() for each in then.acceptances]
        return anchors_in(settings, member, signed_list(settings, member, then.roster.encode(), signed))
    job_id = opened.runs.show(context.run_id, actor=member.id).job_id
    now = opened.workspaces.broker_push(opened.jobs.show(job_id, actor=member.id).workspace_id, actor=member.id)
    return anchors_in(settings, member, signed_list(settings, member, now.roster, now.acceptances))
