"""Commitments to release policies: one for each policy and salt, equal for equal ones and no others."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from opaque_jobs.domain.dataset import ReleasePolicy, SaltedPolicy
from opaque_jobs.domain.document import from_bytes, to_bytes
from opaque_jobs.domain.row_rule import Joint, RowGroup, RowOperator, RowTest
from tests.world import salted

NAMES = st.sampled_from(["id", "value", "site", "a b", "ä", ""])
VALUES = st.one_of(
    st.booleans().map(lambda value: ("bool", str(value).lower())),
    st.integers(-(2**63), 2**63 - 1).map(lambda value: ("int64", str(value))),
    st.floats(1.0, 1e15).map(lambda value: ("double", repr(value))),
    st.text(max_size=5).map(lambda value: ("string", value)),
)
CONDITIONS = st.builds(
    lambda column, operator, typed: RowTest(column=column, type=typed[0], operator=operator, values=(typed[1],)),
    NAMES,
    st.sampled_from([RowOperator.EQUAL, RowOperator.NOT_EQUAL, RowOperator.IN]),
    VALUES,
)
RULES = st.one_of(
    st.none(),
    CONDITIONS,
    st.builds(
        RowGroup, joint=st.sampled_from([Joint.AND, Joint.OR]), rules=st.lists(CONDITIONS, min_size=2, max_size=3).map(tuple)
    ),
)
POLICIES = st.builds(
    ReleasePolicy,
    columns=st.lists(NAMES, max_size=3).map(tuple),
    row_rule=RULES,
)
SALTS = st.binary(min_size=32, max_size=32).map(bytes.hex)


@given(first=POLICIES, second=POLICIES, salt=SALTS)
def test_commitments_with_one_salt_are_equal_exactly_for_equal_policies(first, second, salt):
    same = to_bytes(first) == to_bytes(second)
    assert (salted(first, salt).commitment == salted(second, salt).commitment) is same


@given(policy=POLICIES, salts=st.tuples(SALTS, SALTS))
def test_commitments_to_one_policy_are_equal_exactly_for_equal_salts(policy, salts):
    one, other = (salted(policy, each).commitment for each in salts)
    assert (one == other) is (salts[0] == salts[1])


@given(policy=POLICIES, salt=SALTS, more=CONDITIONS)
def test_commitment_changes_with_every_test_that_is_added(policy, salt, more):
    rule = more if policy.row_rule is None else RowGroup(joint=Joint.AND, rules=(policy.row_rule, more))
    longer = replace(policy, row_rule=rule)
    assert salted(policy, salt).commitment != salted(longer, salt).commitment


@given(policy=POLICIES, salt=SALTS)
def test_commitment_survives_the_way_to_broker_and_enclave(policy, salt):
    sent = salted(policy, salt)
    assert from_bytes(SaltedPolicy, to_bytes(sent), what="policy").commitment == sent.commitment
