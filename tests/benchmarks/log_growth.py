"""The log as it grows: time and memory of appending an entry and of proving one, at sizes up to a million entries.

    python tests/benchmarks/log_growth.py --sizes 1000,10000,100000,1000000

Product: the whole path on SQLite (transaction, the entry, its leaf and nodes, the signed checkpoint, commit); proofs of
inclusion, and of consistency with half the log. Tree: the same tree alone, its nodes in memory. Plain: the root made anew with
hashlib, which is what appending and proving come to if no tree is kept. pymerkle: its tree in memory, if it is installed
(`pip install pymerkle`); we use nothing of it. Growing is by bulk; what is measured are operations at that size.
A slope of 0 is constant, of 1 linear. Nothing is asserted: times are for people to read. Ratios are of medians.
"""

import argparse
import hashlib
import math
import secrets
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

from consortium import Consortium, open_consortium  # noqa: E402 - found by the line above
from sqlalchemy import update  # noqa: E402 - after the path

from opaque_jobs.crypto.merkle import (  # noqa: E402 - found by the line above
    EMPTY,
    Frontier,
    consistency_path,
    inclusion_path,
    leaf_hash,
    node_hash,
)
from opaque_jobs.domain.log import EntryKind, LogEntry  # noqa: E402 - found by the line above
from opaque_jobs.services import log_book  # noqa: E402 - found by the line above
from opaque_jobs.store import log as rows  # noqa: E402 - found by the line above
from opaque_jobs.store.records import LogEntryRecord, LogNodeRecord, add  # noqa: E402 - found by the line above
from opaque_jobs.store.tables import LogEntryRow, LogNodeRow, LogRow  # noqa: E402 - found by the line above

try:
    from pymerkle import InmemoryTree
except ImportError:
    InmemoryTree = None

BULK = 10_000
REPEATED = 200
SLOW_REPEATED = 3


class Product:
    """A workspace's log in a database of its own."""

    name = "product, SQLite"
    repeated = REPEATED

    def __init__(self, folder: Path) -> None:
        self.cast: Consortium = open_consortium(folder / "home")
        self.workspace_id = self.cast.make_workspace("anna")
        self.file = self.cast.home / "opaque-jobs.db"

    @property
    def size(self) -> int:
        with self.cast.services.context.store.read() as session:
            return rows.log(session, self.workspace_id).size

    def grow(self, size: int) -> None:
        while self.size < size:
            self._bulk(min(BULK, size - self.size))

    def _bulk(self, count: int) -> None:
        with self.cast.services.context.store.write() as session:
            log = rows.log(session, self.workspace_id)
            tree, entries, nodes = Frontier.parse(log.size, log.frontier), [], []
            for seq in range(log.size, log.size + count):
                body = make_entry(self.workspace_id, seq).to_bytes()
                entries.append(
                    LogEntryRecord(
                        workspace_id=self.workspace_id,
                        seq=seq,
                        kind=EntryKind.RUN,
                        subject=f"run-{seq}",
                        statement=None,
                        body=body,
                        document=None,
                    )
                )
                tree = tree.append(
                    leaf_hash(body),
                    lambda level, position, node: nodes.append(
                        LogNodeRecord(workspace_id=self.workspace_id, level=level, position=position, hash=node)
                    ),
                )
            add(session, LogEntryRow, *entries)
            add(session, LogNodeRow, *nodes)
            session.execute(
                update(LogRow)
                .where(LogRow.workspace_id == self.workspace_id)
                .values(size=tree.size, frontier=tree.to_bytes(), checkpoint=None)
            )

    def append(self) -> None:
        context = self.cast.services.context
        with context.store.write() as session:
            facts = {"job_digest": "sha256:" + secrets.token_hex(32), "actor": "member-anna"}
            log_book.append(
                context, session, self.workspace_id, EntryKind.RUN, secrets.token_hex(8), now=self.cast.clock(), **facts
            )

    def prove(self, size: int, index: int) -> None:
        logs, anna = self.cast.services.logs, self.cast.id("anna")
        (_,) = logs.proven(self.workspace_id, actor=anna, size=size, first=index, last=index + 1)

    def continued(self, size: int) -> None:
        self.cast.services.logs.consistency(self.workspace_id, actor=self.cast.id("anna"), first=size // 2 + 1, second=size)


class Tree:
    """Our tree, its nodes in a dictionary."""

    name = "our tree, memory"
    repeated = REPEATED

    def __init__(self) -> None:
        self.tree, self.nodes = EMPTY, dict[tuple[int, int], bytes]()

    def append(self) -> None:
        self.tree = self.tree.append(leaf_hash(secrets.token_bytes(32)), self._keep)
        _ = self.tree.root

    def grow(self, size: int) -> None:
        while self.tree.size < size:
            self.tree = self.tree.append(leaf_hash(self.tree.size.to_bytes(8)), self._keep)

    def _keep(self, level: int, position: int, node: bytes) -> None:
        self.nodes[level, position] = node

    def prove(self, size: int, index: int) -> None:
        inclusion_path(index, size, lambda level, position: self.nodes[level, position])

    def continued(self, size: int) -> None:
        consistency_path(size // 2 + 1, size, lambda level, position: self.nodes[level, position])


class Plain:
    """No tree is kept: leaves in a list, everything above them made anew."""

    name = "hashlib anew, memory"
    repeated = SLOW_REPEATED

    def __init__(self) -> None:
        self.leaves: list[bytes] = []

    def grow(self, size: int) -> None:
        self.leaves += [hashlib.sha256(b"\0" + seq.to_bytes(8)).digest() for seq in range(len(self.leaves), size)]

    def append(self) -> None:
        self.leaves.append(hashlib.sha256(b"\0" + secrets.token_bytes(32)).digest())
        self._levels(len(self.leaves))

    def prove(self, size: int, index: int) -> None:
        self._levels(size)

    def continued(self, size: int) -> None:
        self._levels(size)

    def _levels(self, size: int) -> bytes:
        level = self.leaves[:size]
        while len(level) > 1:
            paired = [node_hash(left, right) for left, right in zip(level[::2], level[1::2], strict=False)]
            level = paired + level[len(paired) * 2 :]
        return level[0]


class Pymerkle:
    """pymerkle's tree, in memory."""

    name = "pymerkle, memory"
    repeated = 20

    def __init__(self) -> None:
        self.tree = InmemoryTree()

    def grow(self, size: int) -> None:
        at = self.tree.get_size()
        if at < size:
            self.tree.append_entries([seq.to_bytes(8) for seq in range(at, size)])

    def append(self) -> None:
        self.tree.append_entry(secrets.token_bytes(32))
        self.tree.get_root()

    def prove(self, size: int, index: int) -> None:
        self.tree.prove_inclusion(index + 1, size)

    def continued(self, size: int) -> None:
        self.tree.prove_consistency(size // 2 + 1, size)


def make_entry(workspace_id: str, seq: int) -> LogEntry:
    return LogEntry(
        v=1,
        workspace_id=workspace_id,
        seq=seq,
        at="2026-03-01T09:00:00+00:00",
        kind=EntryKind.RUN,
        subject=f"run-{seq}",
        facts={"job_digest": "sha256:" + f"{seq:064x}", "actor": "member-anna"},
        statement=None,
    )


def median_s(operation: Callable[[], object], repeated: int) -> float:
    times = []
    for _ in range(repeated):
        start = time.perf_counter()
        operation()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def peak_bytes(operation: Callable[[], object]) -> int:
    """Give what one operation allocates at most, above what was there."""
    operation()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    operation()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak - before


def measure(side: Any, size: int) -> dict[str, float]:
    side.grow(size)
    prove = lambda: side.prove(size, secrets.randbelow(size))  # noqa: E731 - said where it is used
    return {
        "append": median_s(side.append, side.repeated),
        "prove": median_s(prove, side.repeated),
        "continue": median_s(lambda: side.continued(size), side.repeated),
        "append_bytes": peak_bytes(side.append),
        "prove_bytes": peak_bytes(prove),
    }


def slope(sizes: list[int], values: list[float]) -> float:
    """Give the slope of log value against log size, by least squares."""
    return statistics.linear_regression([math.log(size) for size in sizes], [math.log(max(each, 1e-9)) for each in values]).slope


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="1000,10000,100000,1000000")
    sizes = [int(each) for each in parser.parse_args().sizes.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        product = Product(Path(folder))
        sides = [product, Tree(), Plain(), *([Pymerkle()] if InmemoryTree else [])]
        print("" if InmemoryTree else "pymerkle is not installed: left out\n", end="")
        print(f"{'':22}{'entries':>9}{'append':>12}{'inclusion':>12}{'consistency':>12}{'peak append':>13}{'peak prove':>13}")
        found: dict[str, list[dict[str, float]]] = {side.name: [] for side in sides}
        for size in sizes:
            for side in sides:
                each = measure(side, size)
                found[side.name].append(each)
                times = "".join(f"{each[key] * 1e3:10.3f}ms" for key in ("append", "prove", "continue"))
                print(
                    f"{side.name:22}{size:9}{times}{each['append_bytes'] / 1024:10.1f}KiB{each['prove_bytes'] / 1024:10.1f}KiB",
                    flush=True,
                )
            print(f"{'database':22}{size:9}{product.file.stat().st_size / product.size:10.0f} bytes an entry")
        print("\nslope over all sizes (0 constant, 1 linear), and times of others / times of the product at the largest")
        for side in sides:
            rows_ = found[side.name]
            slopes = ", ".join(f"{key} {slope(sizes, [each[key] for each in rows_]):+.2f}" for key in rows_[0])
            ours = found[product.name][-1]
            ratios = ", ".join(f"{key} x{rows_[-1][key] / ours[key]:.3g}" for key in ("append", "prove", "continue"))
            print(f"{side.name:22}{slopes}\n{'':22}{ratios}")
        product.cast.services.close()


if __name__ == "__main__":
    main()
