"""The tree against RFC 6962's recursive definitions, which are written out here anew; and that nothing else is ever believed."""

import hashlib

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from opaque_jobs.crypto.merkle import (
    EMPTY,
    Frontier,
    consistency_path,
    inclusion_path,
    leaf_hash,
    node_hash,
    root_at,
    verify_consistency,
    verify_inclusion,
)
from opaque_jobs.errors import TrustError

LEAVES = [hashlib.sha512(bytes([number])).digest()[: number % 7] + bytes([number]) for number in range(130)]
CT_LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
CT_ROOTS = {
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}
sizes = st.integers(1, len(LEAVES))


def split(count):
    power = 1
    while power * 2 < count:
        power *= 2
    return power


def mth(leaves):
    """RFC 6962, 2.1."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    at = split(len(leaves))
    return hashlib.sha256(b"\1" + mth(leaves[:at]) + mth(leaves[at:])).digest()


def path(index, leaves):
    """RFC 6962, 2.1.1."""
    if len(leaves) == 1:
        return []
    at = split(len(leaves))
    if index < at:
        return [*path(index, leaves[:at]), mth(leaves[at:])]
    return [*path(index - at, leaves[at:]), mth(leaves[:at])]


def subproof(first, leaves, whole):
    """RFC 6962, 2.1.2."""
    if first == len(leaves):
        return [] if whole else [mth(leaves)]
    at = split(len(leaves))
    if first <= at:
        return [*subproof(first, leaves[:at], whole), mth(leaves[at:])]
    return [*subproof(first - at, leaves[at:], False), mth(leaves[:at])]


class Kept:
    """A tree with all of its nodes, and what it was at every size."""

    def __init__(self, leaves):
        self.nodes, self.trees, self.leaves = {}, [EMPTY], leaves
        for each in leaves:
            self.trees.append(self.trees[-1].append(leaf_hash(each), self._keep))

    def _keep(self, level, position, node):
        assert (level, position) not in self.nodes
        self.nodes[level, position] = node

    def node(self, level, position):
        return self.nodes[level, position]

    def inclusion(self, index, size):
        return inclusion_path(index, size, self.node)

    def consistency(self, first, second):
        return consistency_path(first, second, self.node)


KEPT = Kept(LEAVES)
ROOTS = [mth(LEAVES[:size]) for size in range(len(LEAVES) + 1)]


def included(index, size, proof, *, leaf=None, root=None):
    return verify_inclusion(
        leaf_hash(LEAVES[index]) if leaf is None else leaf,
        index=index,
        size=size,
        path=proof,
        root=ROOTS[size] if root is None else root,
    )


def continues(first, second, proof, **over):
    given_ = {"first_root": ROOTS[first], "second_root": ROOTS[second]} | over
    return verify_consistency(first=first, second=second, path=proof, **given_)


def flips(data):
    for at in range(len(data)):
        yield data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]


@pytest.mark.parametrize("size", CT_ROOTS)
def test_roots_are_those_of_the_certificate_transparency_vectors(size):
    leaves = [bytes.fromhex(each) for each in CT_LEAVES[:size]]
    assert Kept(leaves).trees[-1].root.hex() == mth(leaves).hex() == CT_ROOTS[size]


@given(size=st.integers(0, len(LEAVES)))
def test_tree_of_any_size_has_the_root_of_the_definition(size):
    assert KEPT.trees[size].root == ROOTS[size] == root_at(size, KEPT.node)
    assert Frontier.parse(size, KEPT.trees[size].to_bytes()) == KEPT.trees[size]


@given(data=st.data(), size=sizes)
def test_inclusion_of_any_leaf_is_proved_as_defined(data, size):
    index = data.draw(st.integers(0, size - 1))
    proof = KEPT.inclusion(index, size)
    assert proof == path(index, LEAVES[:size])
    assert included(index, size, proof)


@given(data=st.data(), second=sizes)
def test_consistency_between_any_two_sizes_is_proved_as_defined(data, second):
    first = data.draw(st.integers(0, second))
    proof = KEPT.consistency(first, second)
    assert proof == (subproof(first, LEAVES[:second], True) if first else [])
    assert continues(first, second, proof)


def test_everything_is_proved_in_every_small_tree():
    for size in range(1, 18):
        assert all(included(index, size, KEPT.inclusion(index, size)) for index in range(size))
        assert all(continues(first, size, KEPT.consistency(first, size)) for first in range(size + 1))


@given(data=st.data(), size=sizes)
def test_inclusion_proof_shows_no_other_leaf_place_size_or_root(data, size):
    index = data.draw(st.integers(0, size - 1))
    proof = KEPT.inclusion(index, size)
    other = data.draw(st.integers(-1, len(LEAVES)))
    if other != index:
        assert not verify_inclusion(leaf_hash(LEAVES[index]), index=other, size=size, path=proof, root=ROOTS[size])
    if 0 <= other < size and other != index:
        assert not included(index, size, proof, leaf=leaf_hash(LEAVES[other]))
    if other >= 0 and other != size:
        assert not included(index, size, proof, root=ROOTS[other])
        # Under another size the same steps can come out (a leaf of the left half does not see the edge), never to a root of that.
        assert not verify_inclusion(leaf_hash(LEAVES[index]), index=index, size=other, path=proof, root=ROOTS[other])
    assert not included(index, size, [*proof, b"\0" * 32])
    assert not included(index, size, [b"\0" * 32, *proof])
    if proof:
        assert not included(index, size, proof[:-1])
        assert not included(index, size, proof[1:])


@settings(max_examples=40)
@given(data=st.data(), second=sizes)
def test_consistency_proof_shows_no_other_history(data, second):
    first = data.draw(st.integers(1, second))
    proof = KEPT.consistency(first, second)
    other = [*LEAVES[: first - 1], b"another", *LEAVES[first:]]
    assert not continues(first, second, proof, first_root=mth(other[:first]))
    assert not continues(first, second, proof, second_root=mth(other[:second]))
    assert not continues(first, second, [*proof, b"\0" * 32])
    if first < second:
        assert not continues(second, first, proof)
        assert not continues(first, second, [])
        assert not continues(first, second, proof[1:])
        assert not continues(first, second, proof[:-1])
    # The honest proof of a history in which one of the first leaves was changed.
    assert not continues(first, second, Kept(other).consistency(first, second), second_root=mth(other[:second]))


def test_nothing_but_the_empty_tree_begins_a_tree_without_proof():
    assert continues(0, 5, [])
    assert not continues(0, 5, [], first_root=b"\0" * 32)
    assert not continues(0, 5, KEPT.consistency(3, 5))
    assert not continues(5, 5, KEPT.consistency(3, 5))
    assert not continues(-1, 5, [], first_root=EMPTY.root)


@settings(max_examples=10, deadline=None)
@given(data=st.data(), size=st.integers(2, len(LEAVES)))
def test_each_byte_of_an_inclusion_proof_counts(data, size):
    index = data.draw(st.integers(0, size - 1))
    proof = KEPT.inclusion(index, size)
    for at, each in enumerate(proof):
        for flipped in flips(each):
            assert not included(index, size, [*proof[:at], flipped, *proof[at + 1 :]])
    assert not any(included(index, size, proof, root=flipped) for flipped in flips(ROOTS[size]))
    assert not any(included(index, size, proof, leaf=leaf_hash(flipped)) for flipped in flips(LEAVES[index]))


@settings(max_examples=10, deadline=None)
@given(data=st.data(), second=st.integers(2, len(LEAVES)))
def test_each_byte_of_a_consistency_proof_counts(data, second):
    first = data.draw(st.integers(1, second - 1))
    proof = KEPT.consistency(first, second)
    for at, each in enumerate(proof):
        for flipped in flips(each):
            assert not continues(first, second, [*proof[:at], flipped, *proof[at + 1 :]])
    for name, root in (("first_root", ROOTS[first]), ("second_root", ROOTS[second])):
        assert not any(continues(first, second, proof, **{name: flipped}) for flipped in flips(root))


A, B, C, D = (leaf_hash(each) for each in LEAVES[:4])
HEIGHTS = {
    "deeper than the size allows, to the right": (2, 1, (A, B), node_hash(B, node_hash(A, D))),
    "deeper than the size allows, to the left": (1, 0, (A,), node_hash(D, A)),
    "less deep than the size allows": (4, 0, (A,), node_hash(D, A)),
    "not at all, where the size allows it": (2, 0, (), D),
}


@pytest.mark.parametrize("case", HEIGHTS)
def test_leaf_of_another_height_than_the_size_says_is_not_in_the_tree_though_its_hashes_come_out(case):
    """Whoever signs the log may sign a size that is not the tree's."""
    size, index, proof, root = HEIGHTS[case]
    assert not verify_inclusion(D, index=index, size=size, path=proof, root=root)


def test_leaf_before_the_first_is_not_in_the_tree_though_its_path_is_that_of_the_last():
    assert included(3, 4, KEPT.inclusion(3, 4))
    assert not verify_inclusion(D, index=-1, size=4, path=KEPT.inclusion(3, 4), root=ROOTS[4])


def test_tree_of_another_height_than_the_size_says_continues_none_though_its_hashes_come_out():
    first, second = node_hash(A, B), node_hash(A, node_hash(B, C))
    assert verify_consistency(first=3, first_root=first, second=4, second_root=second, path=[B, C, A])
    assert not verify_consistency(first=3, first_root=first, second=8, second_root=second, path=[B, C, A])
    first, second = node_hash(D, first), node_hash(D, second)
    assert not verify_consistency(first=3, first_root=first, second=4, second_root=second, path=[B, C, A, D])


@pytest.mark.parametrize(("first", "second", "path", "root"), [(4, 2, [], A), (3, 2, [A, B], node_hash(A, B)), (-4, 4, [A], A)])
def test_smaller_tree_continues_no_larger_one_though_its_hashes_come_out(first, second, path, root):
    assert not verify_consistency(first=first, first_root=A, second=second, second_root=root, path=path)


def test_history_whose_proofs_hold_by_hashes_of_other_lengths_is_another():
    """The third of three leaves is replaced: both hashes below the old root are read as one, with nothing beside them."""
    first, second = node_hash(A, B), node_hash(A + B, node_hash(D, C))
    assert node_hash(A + B, b"") == first
    assert not verify_consistency(first=3, first_root=first, second=4, second_root=second, path=[b"", D + C, A + B])
    assert not verify_inclusion(D, index=2, size=4, path=[C, A + B], root=second)


@example(size=-1, data=bytes(32))
@example(size=1, data=bytes(31))
@given(size=st.integers(-3, 300), data=st.binary(max_size=96))
def test_frontier_that_does_not_fit_its_size_is_refused(size, data):
    assume(size < 0 or len(data) != 32 * size.bit_count())
    with pytest.raises(TrustError):
        Frontier.parse(size, data)
