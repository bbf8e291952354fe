"""The errors a user may see, and the exit code that each gives.

One root. An error has a code for programs, and says what is wrong (message), how to fix it (hint) and safe facts (ids, names,
counts). It never holds a value that came from data, a key, a passphrase or an author's text: errors end up in Airflow's logs.
"""

from typing import ClassVar, Self

__all__ = [
    "ConfigurationError",
    "ConflictError",
    "DeniedError",
    "InvalidInputError",
    "NotFoundError",
    "OpaqueJobsError",
    "SandboxError",
    "TrustError",
]


class OpaqueJobsError(Exception):
    """Root of all errors that are shown to people.

    Args:
        message: What is wrong and where, in one sentence.
        hint: What to do about it.
        facts: Safe values (ids, names, limits) for machines to read; never anything from data.
    """

    exit_code: ClassVar[int] = 1
    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str = "", **facts: str | int | float | bool | None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.facts = facts

    def with_hint(self, hint: str) -> Self:
        """Give this error another hint, and return it: as `with_traceback`, of whatever family it is."""
        self.hint = hint
        return self

    def also(self, other: "OpaqueJobsError") -> Self:
        """Tell of another problem too, and return this error, whose family and exit code stay."""
        if other is not self:
            self.message = f"{self.message}; besides: {other.message}"
            self.args = (self.message,)
            self.hint = "; ".join(dict.fromkeys(each for each in (self.hint, other.hint) if each))
            self.facts = {**other.facts, **self.facts}
        return self


class ConfigurationError(OpaqueJobsError):
    """The installation lacks something or is set up wrongly."""

    exit_code = 3
    code = "configuration"


class NotFoundError(OpaqueJobsError):
    """The thing named does not exist, or the caller may not know that it does."""

    exit_code = 4
    code = "not-found"


class InvalidInputError(OpaqueJobsError):
    """What was given does not parse, or is outside what is allowed."""

    exit_code = 5
    code = "invalid-input"


class DeniedError(OpaqueJobsError):
    """The caller may not do this."""

    exit_code = 6
    code = "denied"


class ConflictError(OpaqueJobsError):
    """The thing is not in a state that allows this, or someone else changed it meanwhile."""

    exit_code = 7
    code = "conflict"


class TrustError(OpaqueJobsError):
    """A signature, digest, seal, attestation or consent does not hold. Never retried."""

    exit_code = 8
    code = "trust"


class SandboxError(OpaqueJobsError):
    """The sandbox could not be started or was ended. The only family that a rerun may mend by itself."""

    exit_code = 9
    code = "sandbox"
    retryable = True
