"""Shares of an organisation's keys: any k give them back, fewer give nothing."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opaque_jobs.crypto.keys import BrokerKeys, SealingKey, SigningKey
from opaque_jobs.crypto.shares import OrganisationKeys, join_secret, make_shares, parse_share, recover, split_secret
from opaque_jobs.errors import InvalidInputError

SECRETS = st.binary(min_size=32, max_size=32)


@st.composite
def choices(draw):
    """How many are needed, how many there are, and an order in which officers come."""
    count = draw(st.integers(2, 7))
    return draw(st.integers(2, count)), count, draw(st.permutations(range(1, count + 1)))


@settings(max_examples=30, deadline=None)
@given(SECRETS, choices())
def test_any_k_values_give_the_secret_and_k_less_one_give_another(secret, drawn):
    threshold, count, order = drawn
    values = split_secret(secret, threshold=threshold, count=count)
    assert list(values) == list(range(1, count + 1))
    assert join_secret({number: values[number] for number in order[:threshold]}) == secret
    assert join_secret(values) == secret
    assert join_secret({number: values[number] for number in order[: threshold - 1]}) != secret


@settings(max_examples=30, deadline=None)
@given(SECRETS, choices(), st.integers(0, 31), st.integers(1, 255))
def test_one_changed_byte_of_a_value_gives_another_secret(secret, drawn, position, change):
    threshold, count, order = drawn
    values = split_secret(secret, threshold=threshold, count=count)
    some = {number: bytearray(values[number]) for number in order[:threshold]}
    some[order[0]][position] ^= change
    assert join_secret({number: bytes(value) for number, value in some.items()}) != secret


@settings(max_examples=30, deadline=None)
@given(SECRETS, choices())
def test_secret_is_split_differently_each_time(secret, drawn):
    threshold, count, _ = drawn
    first, second = (split_secret(secret, threshold=threshold, count=count) for _ in range(2))
    assert all(first[number] != second[number] for number in first)


@pytest.mark.parametrize("broker", [None, BrokerKeys(sealing=SealingKey.generate(), signing=SigningKey.generate())])
def test_shares_under_passphrases_give_the_keys_back_and_fewer_are_refused(broker):
    keys = OrganisationKeys(organisation_id="org-1", name="Hospital", sealing=SealingKey.generate(), broker=broker)
    words = [f"word of officer {number}" for number in range(4)]
    made = [parse_share(share.to_bytes()) for share in make_shares(keys, threshold=3, passphrases=words)]
    pairs = list(zip(made, words, strict=True))
    for chosen in (pairs[1:], pairs[2::-1]):
        assert recover(chosen) == keys
    with pytest.raises(InvalidInputError, match="too few"):
        recover(pairs[:2])
