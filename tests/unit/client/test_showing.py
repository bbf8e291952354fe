"""What may be signed: what was displayed last under what the member typed, or what they typed the digest of."""

from dataclasses import replace

import pytest

from opaque_jobs.client.showing import Shown, digest_to_sign, fingerprint
from opaque_jobs.errors import ConflictError, TrustError

RATES = Shown(subject="job-1", name="Rates", digest="sha256:" + "1" * 64)
AGAIN = replace(RATES, digest="sha256:" + "2" * 64)
OTHER = Shown(subject="job-2", name="Rates", digest="sha256:" + "3" * 64)


@pytest.mark.parametrize("asked", ["job-1", "Rates"])
def test_document_is_signed_as_it_was_displayed(asked):
    assert digest_to_sign(RATES, asked=asked, shown=[OTHER, RATES], signed=(), typed=None) == RATES.digest


def test_document_never_displayed_has_to_be_first():
    assert digest_to_sign(RATES, asked="job-1", shown=[], signed=(), typed=None) is None
    assert digest_to_sign(RATES, asked="job-1", shown=[OTHER], signed=(), typed=None) is None


@pytest.mark.parametrize(
    ("document", "asked", "shown"),
    [
        (AGAIN, "job-1", [RATES]),  # changed since
        (AGAIN, "Rates", [RATES]),
        (RATES, "Rates", [RATES, OTHER]),  # another of the name was looked at last
        (RATES, "job-1", [AGAIN]),  # what was looked at before is shown again
        (replace(RATES, name="Other"), "job-1", [RATES]),
    ],
)
def test_document_other_than_the_one_displayed_last_is_refused(document, asked, shown):
    with pytest.raises(ConflictError, match="changed since"):
        digest_to_sign(document, asked=asked, shown=shown, signed=(), typed=None)


def test_document_after_one_that_was_signed_needs_only_its_own_display():
    for asked in ("job-1", "Rates"):
        assert digest_to_sign(AGAIN, asked=asked, shown=[RATES], signed={RATES.digest}, typed=None) is None
    assert digest_to_sign(AGAIN, asked="job-1", shown=[AGAIN], signed={RATES.digest}, typed=None) == AGAIN.digest


def test_name_of_what_was_signed_last_is_not_taken_for_another_that_was_displayed_before():
    """The signature got lost on its way, say; said again, the command must not mean what the database calls so now."""
    with pytest.raises(ConflictError, match="changed since"):
        digest_to_sign(RATES, asked="Rates", shown=[RATES, OTHER], signed={OTHER.digest}, typed=None)


def test_document_that_is_called_otherwise_than_the_member_typed_is_refused():
    with pytest.raises(TrustError, match="called otherwise"):
        digest_to_sign(RATES, asked="Figures", shown=[RATES], signed=(), typed=None)


def test_typed_digest_counts_in_place_of_a_display_and_only_for_that_document():
    assert digest_to_sign(RATES, asked="job-1", shown=[], signed=(), typed=RATES.digest) == RATES.digest
    with pytest.raises(ConflictError, match="changed since"):
        digest_to_sign(RATES, asked="job-1", shown=[RATES], signed=(), typed=AGAIN.digest)


def test_fingerprint_is_the_beginning_in_groups():
    assert fingerprint("sha256:0123456789abcdef" + "0" * 48) == "0123 4567 89ab cdef"
