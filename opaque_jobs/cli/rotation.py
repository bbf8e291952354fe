"""Changing a key, in steps of which each can be the last before a crash: said again, the command goes on where it stopped.

What a member's change has to be signed with, and the own broker's keys, are opened before the first step.

1. The new key is made in a file of its own, `NAME.KIND.new.json`, before anyone hears of it.
2. It is registered, with the signatures of those who may say so.
3. It takes the present key's place; that file is kept aside as `NAME.KIND.former-ID.json`.
4. A member's key is pinned at the own broker, if that lives here.
5. The next member list is proposed in all workspaces; a member signs theirs if it says nothing new but their key, and signs again
   those data set versions that they confirm.
6. It is in force everywhere when all have accepted. Until then the command makes no second new key unless told to.

Between 4 and the new epoch the own broker believes no list with the former key: nothing of it runs, which is what approvals
that are about to end should do. The former file is needed until then, to withdraw consent.
"""

import functools
import os
import shlex
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from opaque_jobs.broker.config import claimed_config, config_path, pin_member
from opaque_jobs.cli.output import escape, stderr
from opaque_jobs.client.keys import former_key_path, former_key_paths
from opaque_jobs.client.member_lists import beyond_own_key
from opaque_jobs.client.memory import own_memory
from opaque_jobs.client.rosters import accept_roster
from opaque_jobs.crypto.consent import sign_manifest, verify_manifest
from opaque_jobs.crypto.key_changes import SignedChange, sign_key_change
from opaque_jobs.crypto.key_files import read_public_keys
from opaque_jobs.crypto.keys import BrokerKeys, Signer
from opaque_jobs.crypto.signing import claimed_key_id
from opaque_jobs.domain.dataset import DatasetManifest
from opaque_jobs.domain.key_change import KeyUse
from opaque_jobs.domain.workspace import MemberEntry, OrganisationEntry, Roster
from opaque_jobs.errors import ConflictError, InvalidInputError, NotFoundError, TrustError
from opaque_jobs.protocol.views import OrganisationView, WorkspaceView
from opaque_jobs.services import Services
from opaque_jobs.standalone.local_session import local_session

__all__ = ["Again", "Making", "Rotated", "new_key_path", "print_next_steps", "rotate_member_key", "rotate_sealing_key"]


Again = Annotated[
    bool, typer.Option("--again", help="Make another new key although the last one is not in force in all workspaces yet.")
]


def _none_again(_manifests: Sequence[DatasetManifest]) -> Collection[str]:
    return ()


def _signs_nothing(_path: Path) -> Signer:
    raise InvalidInputError("a sealing key signs nothing", hint="the organisation's broker key signs for it")


def _opens_nothing() -> BrokerKeys:
    raise InvalidInputError("nothing is pinned for a sealing key", hint="a member's key is pinned at the own broker")


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """How a new key is made and used; each asks for what opens it when it is called.

    Args:
        make: Makes the new key's file.
        authorise: Gives what signs that the new key counts: the former key, or the organisation's broker key.
        step: Told of each step before it is taken.
        again: Make another key although the last new one is not in force everywhere.
        open_new: Opens the new key's file, for a key that signs.
        broker: Opens the own broker's keys, under which it keeps whom it has pinned; asked only if that lives here.
        sign_again: Is shown the manifests that a former key signed; returns the digests of those to sign again.
        named: Digests that the member typed of such manifests: each has to be one, before anything is done.
        stolen: Somebody else may hold the former key: what it signed is never signed again.
    """

    make: Callable[[Path], None]
    authorise: Callable[[], Signer]
    step: Callable[[str], None]
    again: bool = False
    open_new: Callable[[Path], Signer] = _signs_nothing
    broker: Callable[[], BrokerKeys] = _opens_nothing
    sign_again: Callable[[Sequence[DatasetManifest]], Collection[str]] = _none_again
    named: Collection[str] = ()
    stolen: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """What has come of it.

    Args:
        key_id: The key now registered.
        former: Key files kept aside.
        workspaces: Where the key is or will be known.
        pinned: Whether the own broker, if it lives here, knows it; None for sealing keys.
        renewed: Data set versions whose signature was made again.
        unsigned: Those that a former key signed, and nobody confirmed.
        differing: Workspace -> what its waiting list says beyond the new key, so that it was not signed.
    """

    key_id: str
    former: tuple[Path, ...]
    workspaces: tuple[WorkspaceView, ...]
    pinned: bool | None
    renewed: int
    unsigned: tuple[DatasetManifest, ...] = ()
    differing: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def print_next_steps(done: Rotated, first: str = "") -> None:
    """Tell people what others have to do now."""
    say = stderr()
    if first:
        say.print(f"next, {escape(first)}")
    for view in done.workspaces:
        if view.proposal is not None:
            names = ", ".join(view.proposal.roster.member(each).name for each in view.proposal.waiting_for)
            say.print(f"next, {escape(names)}: opaque-jobs workspace accept {escape(shlex.quote(view.name))}")
    for name, differences in done.differing.items():
        say.print(f"not signed for you in '{escape(name)}', look at it first; it also changes: {escape(', '.join(differences))}")
    for manifest in done.unsigned:
        version = f"{manifest.name}, version {manifest.dataset_version} ({manifest.digest})"
        say.print(f"not signed again, jobs cannot read it: {escape(version)}; say this again with --sign-again DIGEST")
    for path in done.former:
        say.print(f"kept aside until all have accepted, then yours to destroy: {escape(str(path))}")


def new_key_path(path: Path) -> Path:
    """Give where the next key of a key file is made."""
    return path.with_name(f"{path.name.removesuffix('.json')}.new.json")


def rotate_member_key(opened: Services, member: MemberEntry, path: Path, making: Making) -> Rotated:
    """Give a member another signing key, or finish what an earlier call began.

    Args:
        opened: The services.
        member: As registered.
        path: The member's key file.
        making: How.

    Raises:
        ConflictError: Somebody changed the key meanwhile, or a broker of this home cannot be told.
        ConfigurationError: A broker cannot be reached; all else is done.
        NotFoundError: A digest to sign again is of nothing that the member's keys signed.
        TrustError: A passphrase is wrong, who signs may not, or the database names a key that is not in the key file.
    """
    fresh, folder = new_key_path(path), opened.context.settings.broker_dir(member.organisation_id)
    _check_named(opened, member, path, making)
    makes = not fresh.exists() and (making.again or not _is_unfinished(opened, member, path))
    opened_first = _open_first(folder, path, member, making, makes=makes)
    if makes:
        making.step("making the new key")
        making.make(fresh)
    new = read_public_keys(fresh).signing if fresh.exists() else None
    if making.stolen:
        _remember_stolen(opened, member, [*former_key_paths(path), *([path] if new is not None and path.exists() else [])])
    if new is not None and new.text != member.public_key:
        making.step("registering it")
        change = _signed_change(member, new.text, by=opened_first.authority, possession=making.open_new(fresh))
        member = opened.keys.change_member_key(member.id, signed=change)
    making.step("putting it into place")
    _put_in_place(path, fresh)
    making.step("pinning it at the own broker")
    pinned = config_path(folder).exists()
    if pinned:
        _pin(folder, path, member, opened_first.broker)
    making.step("proposing it to the workspaces")
    standing = opened.workspaces.propose_keys(member.id)
    opener = functools.cache(lambda: making.open_new(path))
    differing: dict[str, tuple[str, ...]] = {}
    for view in standing:
        if view.proposal is None or not _waits_for_own_key(view, member):
            continue
        roster = view.proposal.roster
        if differences := _beyond(opened, member, roster):
            differing[view.name] = differences
            continue
        making.step(f"signing the member list of '{view.name}'")
        note = functools.partial(stderr().print, markup=False)
        accept_roster(local_session(opened, member), view.id, member, opener(), expected_digest=roster.digest, on_note=note)
    signed = list(_signed_by(opened, member, former_key_paths(path)))
    again = set(making.sign_again(signed)) if signed else set()
    for manifest in signed:
        if manifest.digest in again:
            making.step("signing the data sets again")
            opened.datasets.renew_signature(actor=member.id, envelope=sign_manifest(manifest, opener()))
    making.step("looking at the workspaces")
    return Rotated(
        key_id=member.key_id,
        former=tuple(former_key_paths(path)),
        workspaces=tuple(opened.workspaces.list(actor=member.id)),
        pinned=pinned,
        renewed=sum(each.digest in again for each in signed),
        unsigned=tuple(each for each in signed if each.digest not in again),
        differing=differing,
    )


def rotate_sealing_key(opened: Services, organisation: OrganisationView, path: Path, making: Making) -> Rotated:
    """Give an organisation another sealing key, or finish what an earlier call began. Arguments and errors as before."""
    entry, fresh = organisation.entry, new_key_path(path)
    views = _workspaces_of(opened, entry.id)
    if not fresh.exists() and (making.again or not any(_names_former_sealing_key(view, entry) for view in views)):
        making.step("making the new key")
        making.make(fresh)
    new = read_public_keys(fresh).sealing if fresh.exists() else None
    if new is not None and new.text != entry.sealing_key:
        making.step("registering it")
        _check_sealing(path, entry)
        word = sign_key_change(
            signer=making.authorise(),
            owner_id=entry.id,
            use=KeyUse.SEALING,
            old_key_id=entry.sealing_key_id,
            new_key=new.text,
            now=datetime.now(UTC),
        )
        entry = opened.keys.change_sealing_key(entry.id, signed=SignedChange(word=word, possession=None)).entry
    making.step("putting it into place")
    _put_in_place(path, fresh)
    making.step("proposing it to the workspaces")
    return Rotated(
        key_id=entry.sealing_key_id,
        former=tuple(former_key_paths(path)),
        workspaces=tuple(opened.workspaces.propose_keys(entry.id)),
        pinned=None,
        renewed=0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _OpenedFirst:
    """What a member's change needs opened, each None where no step of this call uses it."""

    authority: Signer | None
    broker: BrokerKeys | None


def _open_first(folder: Path, path: Path, member: MemberEntry, making: Making, *, makes: bool) -> _OpenedFirst:
    """Open the keys that later steps use, so that nothing is made or registered that a wrong passphrase then leaves half done."""
    fresh = new_key_path(path)
    new = None if makes or not fresh.exists() else read_public_keys(fresh).signing
    registers = makes or (new is not None and new.text != member.public_key)
    authority = None
    if registers:
        _check_owner(path, member)
        authority = making.authorise()
        _ = authority.public  # a key in a file is opened by its first use
    pins = config_path(folder).exists() and (registers or member not in claimed_config(folder).members)
    return _OpenedFirst(authority=authority, broker=making.broker() if pins else None)


def _signed_change(member: MemberEntry, new_key: str, *, by: Signer | None, possession: Signer) -> SignedChange:
    if by is None:
        raise ConflictError("the new key was changed meanwhile", hint="say it again")
    now = datetime.now(UTC)

    def signed(signer: Signer) -> bytes:
        return sign_key_change(
            signer=signer, owner_id=member.id, use=KeyUse.SIGNING, old_key_id=member.key_id, new_key=new_key, now=now
        )

    return SignedChange(word=signed(by), possession=signed(possession))


def _beyond(opened: Services, member: MemberEntry, roster: Roster) -> tuple[str, ...]:
    """Return what a waiting list says beyond the member's new key and the list that they signed."""
    signed = own_memory(opened.context.settings, member).last_signed(roster.workspace_id)
    return ("all of it: this client signed no list there",) if signed is None else beyond_own_key(signed, roster, member.id)


def _remember_stolen(opened: Services, member: MemberEntry, paths: Sequence[Path]) -> None:
    memory = own_memory(opened.context.settings, member)
    for each in paths:
        key = read_public_keys(each).signing
        if key is not None:
            memory.remember_stolen(key.key_id)


def _check_owner(path: Path, member: MemberEntry) -> None:
    """Check that the key file is that member's, with the key that is changed, whoever the database says has the name."""
    if path.exists():
        public = read_public_keys(path)
        if (public.owner_id, public.signing and public.signing.text) != (member.id, member.public_key):
            raise TrustError(
                f"the database names another member or another key of '{member.name}' than their key file",
                hint="nothing was signed; was it changed?",
            )


def _check_sealing(path: Path, entry: OrganisationEntry) -> None:
    """Check the same of an organisation's sealing key."""
    public = read_public_keys(path) if path.exists() else None
    if public is not None and (public.owner_id, public.sealing and public.sealing.text) != (entry.id, entry.sealing_key):
        raise TrustError(
            f"the database names another organisation or another key of '{entry.name}' than its key file",
            hint="nothing was signed; was it changed?",
        )


def _pin(folder: Path, path: Path, member: MemberEntry, broker: BrokerKeys | None) -> None:
    _check_held(path, member)
    if member in claimed_config(folder).members:
        return
    if broker is None:
        raise ConflictError("the broker's settings were changed meanwhile", hint="say it again")
    pin_member(folder, member, broker)


def _check_held(path: Path, member: MemberEntry) -> None:
    """Check that the key that is about to be pinned is the one in the member's own file, whatever the database says."""
    held = read_public_keys(path).signing
    if held is None or held.text != member.public_key:
        raise TrustError(
            f"the database names another key of '{member.name}' than their key file", hint="nothing was pinned; was it changed?"
        )


def _put_in_place(path: Path, fresh: Path) -> None:
    """Let the new file take the place of the present one, which is kept aside. At every moment there is a present one."""
    if not fresh.exists():
        return
    if path.exists():
        public = read_public_keys(path)
        key = public.signing or public.sealing
        aside = former_key_path(path, key.key_id if key else "")
        if not aside.exists():
            os.link(path, aside)
    fresh.replace(path)


def _newest(view: WorkspaceView) -> Roster | None:
    return view.proposal.roster if view.proposal else view.roster


def _entry(roster: Roster | None, member: MemberEntry) -> MemberEntry | None:
    return next((each for each in roster.members if each.id == member.id), None) if roster else None


def _is_unfinished(opened: Services, member: MemberEntry, path: Path) -> bool:
    for view in opened.workspaces.list(actor=member.id):
        if {_entry(view.roster, member), _entry(_newest(view), member)} - {None, member}:
            return True
    return any(True for _ in _signed_by(opened, member, former_key_paths(path)))


def _waits_for_own_key(view: WorkspaceView, member: MemberEntry) -> bool:
    """Tell whether a list waits for a member's signature because their key is another. A list of other news is theirs to read."""
    if view.proposal is None or member.id not in view.proposal.waiting_for:
        return False
    return _entry(view.roster, member) not in {None, member} and _entry(view.proposal.roster, member) == member


def _check_named(opened: Services, member: MemberEntry, path: Path, making: Making) -> None:
    """Check that every digest that was typed is of a manifest that a key of this member signed, and no thief could have."""
    present = [path] if path.exists() and not making.stolen else []
    signed = _signed_by(opened, member, [*former_key_paths(path), *present]) if making.named else ()
    if set(making.named) - {each.digest for each in signed}:
        raise NotFoundError(
            "a digest to sign again is of no data set version that a key of yours signed, stolen ones apart",
            hint="nothing was done; leave it out to have those listed that there are",
        )


def _signed_by(opened: Services, member: MemberEntry, paths: Iterable[Path]) -> Iterator[DatasetManifest]:
    """Return the manifests that stand with a signature of these own keys, stolen ones apart, verified with those."""
    stolen = own_memory(opened.context.settings, member).stolen_keys()
    former = [read_public_keys(each).signing for each in paths]
    entries = [replace(member, public_key=key.text) for key in former if key is not None and key.key_id not in stolen]
    for dataset in opened.datasets.list(actor=member.id):
        for version in dataset.versions:
            if claimed_key_id(version.envelope) in {each.key_id for each in entries}:
                yield verify_manifest(version.envelope, entries)


def _workspaces_of(opened: Services, organisation_id: str) -> Iterator[WorkspaceView]:
    for member in opened.workspaces.members(organisation_id=organisation_id):
        yield from opened.workspaces.list(actor=member.id)


def _names_former_sealing_key(view: WorkspaceView, entry: OrganisationEntry) -> bool:
    rosters = [each for each in (view.roster, _newest(view)) if each is not None]
    return any(each.id == entry.id and each != entry for roster in rosters for each in roster.organisations)
