"""Merkle trees of RFC 9162: appending, proving and verifying, over nodes that somebody else keeps.

Pure. A tree is known by a *frontier*, the roots of its complete subtrees from left to right (one for each bit of its size), so
appending and computing the root need some 32 bytes a level; proofs need single nodes, fetched by (level, index).
Source: RFC 9162, sections 2.1.1 to 2.1.4.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from opaque_jobs.errors import TrustError

__all__ = [
    "EMPTY",
    "Frontier",
    "Node",
    "consistency_path",
    "inclusion_path",
    "leaf_hash",
    "node_hash",
    "root_at",
    "verify_consistency",
    "verify_inclusion",
]

HASH_BYTES: Final = 32

Node = Callable[[int, int], bytes]
"""Gives the root of the complete subtree of `2**level` leaves that begins at leaf `index * 2**level`."""


def leaf_hash(data: bytes) -> bytes:
    """Give the hash of a leaf (2.1.1)."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Give the hash of an inner node (2.1.1)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Frontier:
    """A tree as far as appending needs it.

    Args:
        size: Number of leaves.
        roots: Roots of the complete subtrees, left to right: the largest first, one for each bit that is set in `size`.
    """

    size: int
    roots: tuple[bytes, ...]

    def __post_init__(self) -> None:
        if self.size < 0 or len(self.roots) != self.size.bit_count() or any(len(each) != HASH_BYTES for each in self.roots):
            raise TrustError("what is stored of a log's tree is not consistent", hint="was the database changed?")

    def append(self, leaf: bytes, keep: Callable[[int, int, bytes], None] = lambda _level, _index, _hash: None) -> "Frontier":
        """Give the tree with one more leaf.

        Args:
            leaf: Its hash.
            keep: Told each complete subtree that this makes: level, index, root.
        """
        roots, level, hashed = list(self.roots), 0, leaf
        keep(0, self.size, leaf)
        while self.size >> level & 1:
            hashed = node_hash(roots.pop(), hashed)
            level += 1
            keep(level, self.size >> level, hashed)
        return Frontier(size=self.size + 1, roots=(*roots, hashed))

    @property
    def root(self) -> bytes:
        """Root hash of the whole tree; of the empty one the hash of nothing."""
        if not self.roots:
            return hashlib.sha256(b"").digest()
        root = self.roots[-1]
        for left in reversed(self.roots[:-1]):
            root = node_hash(left, root)
        return root

    def to_bytes(self) -> bytes:
        """Give the roots, 32 bytes each."""
        return b"".join(self.roots)

    @classmethod
    def parse(cls, size: int, data: bytes) -> "Frontier":
        """Read what `to_bytes` gave.

        Raises:
            TrustError: It does not fit the size.
        """
        roots = tuple(data[start : start + HASH_BYTES] for start in range(0, len(data), HASH_BYTES))
        return cls(size=size, roots=roots)


EMPTY: Final = Frontier(size=0, roots=())


def _split(count: int) -> int:
    """Give the largest power of two below a count of at least two."""
    return 1 << (count - 1).bit_length() - 1


def _subtree(low: int, high: int, node: Node) -> bytes:
    """Give the root over leaves low..high-1, from complete subtrees; low is a multiple of the largest that fits."""
    count = high - low
    if count & (count - 1) == 0:
        level = count.bit_length() - 1
        return node(level, low >> level)
    middle = low + _split(count)
    return node_hash(_subtree(low, middle, node), _subtree(middle, high, node))


def root_at(size: int, node: Node) -> bytes:
    """Give the root that the tree had with so many leaves."""
    return _subtree(0, size, node) if size else EMPTY.root


def inclusion_path(index: int, size: int, node: Node) -> list[bytes]:
    """Prove that a leaf is in the tree of a size (2.1.3.1), leaf side first."""
    path, low, high = [], 0, size
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            path.append(_subtree(middle, high, node))
            high = middle
        else:
            path.append(_subtree(low, middle, node))
            low = middle
    return path[::-1]


def consistency_path(first: int, second: int, node: Node) -> list[bytes]:
    """Prove that the tree of the second size continues that of the first (2.1.4.1); empty if there is nothing to prove."""
    if first in (0, second):
        return []
    path, low, high, whole = [], 0, second, True
    while first != high:
        middle = low + _split(high - low)
        if first <= middle:
            path.append(_subtree(middle, high, node))
            high = middle
        else:
            path.append(_subtree(low, middle, node))
            low, whole = middle, False
    if not whole:
        path.append(_subtree(low, high, node))
    return path[::-1]


def _hashes(path: Sequence[bytes]) -> bool:
    """Tell whether a path is one of hashes: if one could be longer and the next shorter, a root would be of other leaves too."""
    return all(len(each) == HASH_BYTES for each in path)


def verify_inclusion(leaf: bytes, *, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Tell whether a path proves a leaf hash at an index of the tree with this size and root (2.1.3.2)."""
    if not 0 <= index < size or not _hashes(path):
        return False
    position, last, hashed = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            return False
        if position & 1 or position == last:
            hashed = node_hash(sibling, hashed)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            hashed = node_hash(hashed, sibling)
        position, last = position >> 1, last >> 1
    return last == 0 and hashed == root


def verify_consistency(*, first: int, first_root: bytes, second: int, second_root: bytes, path: Sequence[bytes]) -> bool:
    """Tell whether a path proves that the second tree continues the first (2.1.4.2)."""
    if not 0 <= first <= second or not _hashes(path):
        return False
    if first == second:
        return not path and first_root == second_root
    if first == 0:
        return not path and first_root == EMPTY.root
    proof = list(path) if first & (first - 1) else [first_root, *path]
    if not proof:
        return False
    position, last = first - 1, second - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    old = new = proof[0]
    for sibling in proof[1:]:
        if last == 0:
            return False
        if position & 1 or position == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        position, last = position >> 1, last >> 1
    return last == 0 and (old, new) == (first_root, second_root)
