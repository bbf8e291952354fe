"""Who asks. Made where somebody is authenticated, and taken by every use case; what they may do is decided there."""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Actor", "Via"]


class Via(StrEnum):
    """How somebody was authenticated."""

    KEY = "key"
    """By a session that the member's signing key signed for."""
    AIRFLOW = "airflow"
    """By Airflow's own session."""
    LOCAL = "local"
    """By working on the coordinator's own machine and files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """An authenticated member.

    Args:
        member_id: Who.
        via: How that is known.
    """

    member_id: str
    via: Via
