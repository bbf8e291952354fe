"""The declared nouns over the services: who asks is authenticated, lists come in parts, paths of this machine stay here."""

from typing import Any

from opaque_jobs.api.uploads import Uploads
from opaque_jobs.api.use_cases.datasets import DatasetsUseCases
from opaque_jobs.api.use_cases.jobs import JobsUseCases
from opaque_jobs.api.use_cases.keys import KeysUseCases
from opaque_jobs.api.use_cases.logs import LogsUseCases
from opaque_jobs.api.use_cases.people import PeopleUseCases
from opaque_jobs.api.use_cases.queries import QueriesUseCases
from opaque_jobs.api.use_cases.reviews import ReviewsUseCases
from opaque_jobs.api.use_cases.runs import RunsUseCases
from opaque_jobs.api.use_cases.uploads import UploadsUseCases
from opaque_jobs.api.use_cases.workspaces import WorkspacesUseCases
from opaque_jobs.services import Services

__all__ = ["use_cases"]


def use_cases(services: Services, uploads: Uploads, *, version: str) -> dict[str, Any]:
    """Give what answers each noun of `protocol.api.NOUNS`.

    Args:
        services: Of this installation.
        uploads: Where files arrive.
        version: Of this program.
    """
    return {
        "people": PeopleUseCases(services, version),
        "keys": KeysUseCases(services),
        "workspaces": WorkspacesUseCases(services),
        "datasets": DatasetsUseCases(services, uploads),
        "uploads": UploadsUseCases(services, uploads),
        "jobs": JobsUseCases(services),
        "reviews": ReviewsUseCases(services),
        "runs": RunsUseCases(services),
        "queries": QueriesUseCases(services),
        "logs": LogsUseCases(services),
    }
