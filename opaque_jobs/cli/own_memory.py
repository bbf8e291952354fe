"""Where the memory of a member's own client lies in this home: beside their key."""

from pathlib import Path

from opaque_jobs.client.memory import Memory
from opaque_jobs.domain.workspace import MemberEntry
from opaque_jobs.settings import Settings

__all__ = ["memory_path", "own_memory"]


def memory_path(settings: Settings, name: str) -> Path:
    """Return the path of what the client of the member of this name remembers."""
    return settings.keys_dir / f"{name}.memory.db"


def own_memory(settings: Settings, member: MemberEntry) -> Memory:
    """Return what a member's client remembers."""
    return Memory(memory_path(settings, member.name))
