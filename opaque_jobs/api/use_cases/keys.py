"""Key changes over the services. Who signed for a key is verified there; here, whose key the asker may speak of."""

from opaque_jobs.api.actor import Actor
from opaque_jobs.api.use_cases.noun import UseCases
from opaque_jobs.crypto.key_changes import SignedChange
from opaque_jobs.domain.workspace import MemberEntry
from opaque_jobs.errors import DeniedError
from opaque_jobs.protocol.views import OrganisationView, WorkspaceView

__all__ = ["KeysUseCases"]


class KeysUseCases(UseCases):
    """See `protocol.api.Keys`."""

    def signed_changes(self, *, actor: Actor, owner_id: tuple[str, ...]) -> tuple[SignedChange, ...]:
        known = self._known(actor)
        known |= {each.organisation_id for each in self._services.workspaces.members() if each.id in known}
        return self._services.keys.signed_changes([each for each in owner_id if each in known])

    def change_member_key(self, *, actor: Actor, member_id: str, signed: SignedChange) -> MemberEntry:
        self._check_own_organisation(actor, self._organisation_of(member_id))
        return self._services.keys.change_member_key(member_id, signed=signed)

    def change_sealing_key(self, *, actor: Actor, organisation_id: str, signed: SignedChange) -> OrganisationView:
        self._check_own_organisation(actor, organisation_id)
        return self._services.keys.change_sealing_key(organisation_id, signed=signed)

    def propose(self, *, actor: Actor, owner_id: str) -> tuple[WorkspaceView, ...]:
        own = self._services.workspaces.member(actor.member_id)
        if owner_id not in {own.id, own.organisation_id}:
            raise DeniedError("this is not your key, nor your organisation's", hint="each proposes their own")
        return tuple(self._services.workspaces.propose_keys(owner_id))

    def _organisation_of(self, member_id: str) -> str:
        return self._services.workspaces.member(member_id).organisation_id

    def _check_own_organisation(self, actor: Actor, organisation_id: str) -> None:
        """Check that keys of an organisation are the asker's to change.

        Raises:
            DeniedError: It is another.
        """
        if self._organisation_of(actor.member_id) != organisation_id:
            raise DeniedError("this is no key of your organisation", hint="ask one of its members")
