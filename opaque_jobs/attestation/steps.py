"""The steps of one verification, in order: the first that does not hold ends it, and all that were taken can be shown."""

from dataclasses import dataclass

from opaque_jobs.errors import TrustError

__all__ = ["Step", "Steps"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step; `problem` is empty if it held."""

    name: str
    problem: str


class Steps:
    """Takes steps, and remembers them."""

    def __init__(self) -> None:
        self.taken: list[Step] = []

    def demand(self, name: str, holds: bool, problem: str) -> None:
        """Take a step.

        Args:
            name: What is checked, in words that are true when it holds.
            holds: Whether it does.
            problem: What is wrong otherwise.

        Raises:
            TrustError: It does not hold.
        """
        self.taken.append(Step(name=name, problem="" if holds else problem))
        if not holds:
            raise TrustError(problem, hint="do not trust this evidence; 'opaque-jobs attest verify FILE' shows every step")
