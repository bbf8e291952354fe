"""Commitments to release policies: one for each policy and salt, equal for equal ones and no others."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from opaque_jobs.domain.dataset import ReleasePolicy, RowCondition, RowOperator, SaltedPolicy
from opaque_jobs.domain.document import from_bytes, to_bytes
from tests.world import salted

NAMES = st.sampled_from(["id", "value", "site", "a b", "ä", ""])
VALUES = st.one_of(st.booleans(), st.integers(-(2**53) + 1, 2**53 - 1), st.floats(-1e15, 1e15), st.text(max_size=5))
CONDITIONS = st.builds(RowCondition, column=NAMES, operator=st.sampled_from(RowOperator), value=VALUES)
POLICIES = st.builds(
    ReleasePolicy,
    columns=st.lists(NAMES, max_size=3).map(tuple),
    row_conditions=st.lists(CONDITIONS, max_size=3).map(tuple),
)
SALTS = st.binary(min_size=32, max_size=32).map(bytes.hex)


@given(first=POLICIES, second=POLICIES, salt=SALTS)
def test_commitments_with_one_salt_are_equal_exactly_for_equal_policies(first, second, salt):
    # By their bytes: Python takes 1 and true for equal.
    same = to_bytes(first) == to_bytes(second)
    assert (salted(first, salt).commitment == salted(second, salt).commitment) is same


@given(policy=POLICIES, salts=st.tuples(SALTS, SALTS))
def test_commitments_to_one_policy_are_equal_exactly_for_equal_salts(policy, salts):
    one, other = (salted(policy, each).commitment for each in salts)
    assert (one == other) is (salts[0] == salts[1])


@given(policy=POLICIES, salt=SALTS, value=VALUES)
def test_commitment_changes_with_every_condition_that_is_added(policy, salt, value):
    more = RowCondition(column="id", operator=RowOperator.EQUAL, value=value)
    longer = replace(policy, row_conditions=(*policy.row_conditions, more))
    assert salted(policy, salt).commitment != salted(longer, salt).commitment


@given(policy=POLICIES, salt=SALTS)
def test_commitment_survives_the_way_to_broker_and_enclave(policy, salt):
    sent = salted(policy, salt)
    assert from_bytes(SaltedPolicy, to_bytes(sent), what="policy").commitment == sent.commitment
