"""Errors that are told with another hint, or with another problem: they stay what they are, whatever their constructor takes."""

from opaque_jobs.errors import ConfigurationError, OpaqueJobsError, TrustError


class PeculiarError(TrustError):
    """One whose constructor is its own."""

    def __init__(self, number: int) -> None:
        super().__init__(f"number {number}", hint="look", number=number)


def test_error_with_another_hint_is_the_same_error():
    error = PeculiarError(3)
    assert error.with_hint("look again") is error
    assert (error.message, error.hint, error.facts, error.exit_code) == ("number 3", "look again", {"number": 3}, 8)


def test_error_told_with_another_keeps_its_family_and_says_both():
    both = PeculiarError(3).also(ConfigurationError("away", hint="start it", brokers=1))
    assert isinstance(both, PeculiarError)
    assert (both.message, str(both), both.hint) == (*["number 3; besides: away"] * 2, "look; start it")
    assert both.facts == {"number": 3, "brokers": 1}


def test_error_told_with_itself_is_told_once():
    error = OpaqueJobsError("away", hint="start it")
    assert error.also(error).message == "away"
