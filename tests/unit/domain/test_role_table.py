"""The table "who may do what" of the product's description, cell by cell."""

from itertools import product

import pytest

from opaque_jobs.domain.roles import Action, Role, may, role_of

ALLOWED = {
    "author": {"see", "edit", "test_draft", "test_under_review", "withdraw", "read_result", "verify_receipt"},
    "colleague": {"see", "test_under_review", "vote", "withdraw", "read_result", "verify_receipt"},
    "partner": {"see", "test_under_review", "vote", "withdraw", "verify_receipt"},
    "outsider": {"verify_receipt"},
}


@pytest.mark.parametrize(("role", "action"), list(product(Role, Action)))
def test_role_may_do_exactly_what_the_description_says(role, action):
    assert may(role, action) is (action.value in ALLOWED[role.value])


@pytest.mark.parametrize(
    ("member", "organisation", "is_member", "role"),
    [
        ("a", "x", True, Role.AUTHOR),
        ("b", "x", True, Role.COLLEAGUE),
        ("c", "y", True, Role.PARTNER),
        ("a", "x", False, Role.OUTSIDER),
        (None, None, True, Role.OUTSIDER),
        ("b", "x", False, Role.OUTSIDER),
    ],
)
def test_role_follows_from_membership_and_organisation(member, organisation, is_member, role):
    assert role_of(member, organisation, author_id="a", author_organisation_id="x", is_member=is_member) is role
