"""What one member list says otherwise than another. Pure.

A change of key is signed at once where a waiting list says nothing new but that key; all else is its member's to read first.
"""

from collections.abc import Iterator
from dataclasses import replace

from opaque_jobs.domain.workspace import Roster

__all__ = ["beyond_own_key"]


def beyond_own_key(signed: Roster, proposed: Roster, member_id: str) -> tuple[str, ...]:
    """Return what a proposed list says otherwise than the one that a member signed, apart from that member's own key, in words.

    Trust: nothing is left out: a difference that has no words of its own is named too. That the list follows the signed one, and
    who signed for the key, is verified elsewhere.
    """
    found = (*_people(signed, proposed, member_id), *_rules(signed, proposed))
    keys = {each.id: each.public_key for each in proposed.members if each.id == member_id}
    expected = replace(
        signed,
        epoch=proposed.epoch,
        genesis=proposed.genesis,
        previous=proposed.previous,
        nonce=proposed.nonce,
        members=tuple(replace(each, public_key=keys.get(each.id, each.public_key)) for each in signed.members),
    )
    return found if found or expected == proposed else ("something else",)


def _people(signed: Roster, proposed: Roster, member_id: str) -> Iterator[str]:
    before, after = ({each.id: each for each in roster.members} for roster in (signed, proposed))
    for each in sorted(before.keys() | after.keys()):
        if each not in before:
            yield f"'{after[each].name}' is added"
        elif each not in after:
            yield f"'{before[each].name}' is left out"
        elif after[each] != (replace(before[each], public_key=after[each].public_key) if each == member_id else before[each]):
            yield f"key, name or organisation of '{before[each].name}'"
    houses, shown = ({each.id: each for each in roster.organisations} for roster in (signed, proposed))
    for each in sorted(houses.keys() | shown.keys()):
        if houses.get(each) != shown.get(each):
            yield f"keys or name of the organisation '{(houses.get(each) or shown[each]).name}'"


def _rules(signed: Roster, proposed: Roster) -> Iterator[str]:
    if (signed.workspace_id, signed.name) != (proposed.workspace_id, proposed.name):
        yield "the workspace's name"
    if signed.log_key != proposed.log_key:
        yield "the log's key"
    if (signed.run_policy, signed.runners) != (proposed.run_policy, proposed.runners):
        yield "who may run jobs"
    if signed.approval_groups != proposed.approval_groups:
        yield "whose approvals a job needs"
