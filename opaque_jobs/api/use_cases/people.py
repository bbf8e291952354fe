"""Members and organisations over the services."""

from opaque_jobs.api.actor import Actor
from opaque_jobs.api.paging import page
from opaque_jobs.api.use_cases.noun import UseCases
from opaque_jobs.domain.workspace import MemberEntry
from opaque_jobs.protocol.documents import (
    WhoAmI,
)
from opaque_jobs.protocol.operations import Page
from opaque_jobs.protocol.views import (
    OrganisationView,
)
from opaque_jobs.services import Services

__all__ = ["PeopleUseCases"]


class PeopleUseCases(UseCases):
    """See `protocol.api.People`."""

    def __init__(self, services: Services, version: str) -> None:
        super().__init__(services)
        self._version = version

    def me(self, *, actor: Actor) -> WhoAmI:
        member = self._services.workspaces.member(actor.member_id)
        return WhoAmI(
            member_id=member.id,
            name=member.name,
            organisation_id=member.organisation_id,
            via=actor.via.value,
            version=self._version,
        )

    def members(self, *, actor: Actor, name: str | None = None, cursor: str | None = None, limit: int = 100) -> Page[MemberEntry]:
        everybody = self._services.workspaces.members()
        if name is not None:
            found = [each for each in everybody if each.name == name]
        else:
            known = self._known(actor)
            found = [each for each in everybody if each.id in known]
        return page(found, key=lambda each: (each.name, each.id), cursor=cursor, limit=limit)

    def organisations(
        self, *, actor: Actor, organisation_id: tuple[str, ...] = (), cursor: str | None = None, limit: int = 100
    ) -> Page[OrganisationView]:
        if organisation_id:
            ids = set(organisation_id)
        else:
            known = self._known(actor)
            ids = {each.organisation_id for each in self._services.workspaces.members() if each.id in known}
        found = [each for each in self._services.workspaces.organisations() if each.entry.id in ids]
        return page(found, key=lambda each: (each.entry.name, each.entry.id), cursor=cursor, limit=limit)
