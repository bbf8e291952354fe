"""One release by a broker, with the number of members and the length of the log: time and memory.

    python tests/benchmarks/release_decision.py --members 3,10,100 --entries 1000,100000

Product: a broker with its database on disk is shown evidence of a fresh simulated enclave for the next run of an approved job
(`attest`: decide, give a token), is asked for a key (decide, record, state the release) and asked again once its statement is in
the log (decide, seal the key). Not in it: the network, and making the bundle; following the log's new entries (the run, then the
release) has a row of its own. Signatures: the same number of Ed25519 signatures as the bundle holds (an acceptance and a vote of
each member), verified by `cryptography` three times, as often as the broker decides. Token: one Ed25519 JWT, signed and verified
by `joserfc`, as an ordinary service would release a key to whoever shows one. Sides take turns in each repetition.
Nothing is asserted: times are for people to read. Ratios are of median processor times, which a busy machine changes least; the
wall clock has the waiting for the disk too.
"""

import argparse
import itertools
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: E402 - found by the line above
from joserfc import jwt  # noqa: E402 - after the path
from joserfc.jwk import OKPKey  # noqa: E402 - after the path

from opaque_jobs.attestation.kbs import attest_body  # noqa: E402 - found by the line above
from opaque_jobs.broker.monitor import accept_page, followed_to  # noqa: E402 - found by the line above
from opaque_jobs.broker.release import Sealed, Token, Unlogged  # noqa: E402 - found by the line above
from opaque_jobs.broker.statements import Statements, accept_deposit, accept_statements  # noqa: E402 - found by the line above
from opaque_jobs.domain.canonical import canonical_bytes  # noqa: E402 - found by the line above
from opaque_jobs.domain.job import TeeKind  # noqa: E402 - found by the line above
from opaque_jobs.domain.log import EntryKind  # noqa: E402 - found by the line above
from opaque_jobs.domain.rerun_terms import RerunTerms  # noqa: E402 - found by the line above
from tests.world import NOW, Enclave, Member, World  # noqa: E402 - found by the line above

DECISIONS = 3
PAGE = 2000
MESSAGE = b"a statement of about the length of a vote".ljust(900, b".")
TERMS = RerunTerms(
    max_runs=1_000_000, not_before=None, not_after=(NOW + timedelta(days=30)).isoformat(), min_interval_s=0, schedule=None,
    variable_inputs=(),
)  # fmt: skip


@dataclass(frozen=True)
class Spent:
    """Seconds by the wall clock, and of the processor."""

    wall: float
    processor: float

    def __add__(self, other: Self) -> Self:
        return replace(self, wall=self.wall + other.wall, processor=self.processor + other.processor)


class Product:
    """The hospital's broker, a job that so many approved, and a log that grows."""

    def __init__(self, members: int, folder: Path) -> None:
        self.world = world = World()
        for number in range(3, members):
            home = world.organisations[number % 2]
            home.members.append(Member(f"member-{number:03}", home.id))
        self.broker = world.make_broker(world.hospital, folder / "broker")
        deposit, manifest = world.deposit(world.hospital), world.manifest_envelope(world.hospital)
        accept_deposit(self.broker, canonical_bytes({"deposit": deposit.decode(), "manifest": manifest.decode()}))
        nothing = {"roster": None, "acceptances": (), "earlier": (), "withdrawals": (), "holds": ()}
        accept_statements(self.broker, Statements(**nothing, sharings=(world.sharing(world.hospital).decode(),)))
        self.spec = world.make_spec(rerun_terms=TERMS)
        self.bundle = world.make_bundle(self.spec)
        self.statements = [text.encode() for text in (self.bundle.roster, *self.bundle.acceptances, *self.bundle.approvals)]
        self.runs = itertools.count(2)
        self.follow()

    def grow(self, entries: int) -> None:
        for number in range(self.world.log.tree.size, entries):
            self.world.log.append(EntryKind.OUTCOME, f"run-of-others-{number}", job_digest="sha256:" + f"{number:064x}")
        self.follow()

    def follow(self) -> None:
        log = self.world.log
        while (first := followed_to(self.broker, "ws-1")) < log.tree.size:
            until = min(first + PAGE, log.tree.size)
            page = log.page(first, entries=tuple(log.logged[first:until]), checkpoint=log.note(until))
            accept_page(self.broker, page.to_bytes())

    def next_run(self) -> Callable[[], tuple[Spent, Spent]]:
        """Make what the next run's enclave shows; gives what releases its key and says what that and following took."""
        run_id, log = f"run-{next(self.runs)}", self.world.log
        self.world.enter_run(self.spec, run_id, {})
        shown = replace(self.bundle, log=log.proof(self.statements, run_id))
        enclave = Enclave(self.world, self.spec, shown, run_id=run_id)
        session, nonce = self.broker.begin(TeeKind.SIMULATED)
        body = attest_body(enclave.request(nonce)).encode()
        wanted = {"workspace_id": "ws-1", "dataset_id": self.world.hospital.dataset_id, "version": 1}

        def ask() -> object:
            return self.broker.release(session, **wanted)

        def release() -> tuple[Spent, Spent]:
            before, _ = spent(self.follow)
            first, (token, unlogged) = spent(lambda: (self.broker.attest(session, body), ask()))
            if not (isinstance(token, Token) and isinstance(unlogged, Unlogged)):
                raise SystemExit(f"the broker refused: {token} {unlogged}")
            log.append(EntryKind.RELEASE, run_id, unlogged.statement)
            after, _ = spent(self.follow)
            second, sealed = spent(ask)
            if not isinstance(sealed, Sealed):
                raise SystemExit(f"the broker refused: {sealed}")
            return first + second, before + after

        return release


class Signatures:
    """As many signatures as a bundle holds, by as many people, and nothing around them."""

    def __init__(self, members: int) -> None:
        keys = [Ed25519PrivateKey.generate() for _ in range(members)]
        self.signed = [(key.public_key(), key.sign(MESSAGE)) for key in keys for _ in ("acceptance", "vote")]

    def verify(self) -> None:
        for _ in range(DECISIONS):
            for key, signature in self.signed:
                key.verify(signature, MESSAGE)


class PlainToken:
    """A token check, without any of what the broker decides."""

    def __init__(self) -> None:
        self.key = OKPKey.generate_key("Ed25519", auto_kid=False)
        self.claims = {"sub": "run-1", "aud": "broker", "exp": 4_000_000_000}

    def verify(self) -> None:
        token = jwt.encode({"alg": "Ed25519"}, self.claims, self.key, algorithms=["Ed25519"])
        jwt.decode(token, self.key, algorithms=["Ed25519"])


def spent(operation: Callable[[], Any]) -> tuple[Spent, Any]:
    """Carry out an operation; gives what it took, and its answer."""
    wall, processor = time.perf_counter(), time.process_time()
    answer = operation()
    return Spent(wall=time.perf_counter() - wall, processor=time.process_time() - processor), answer


def peak_bytes(operation: Callable[[], object]) -> int:
    """Give what one operation allocates at most, above what was there."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    operation()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak - before


def percentile_95(times: Sequence[float]) -> float:
    return statistics.quantiles(times, n=20, method="inclusive")[-1]


def measure(product: Product, repeated: int, members: int) -> dict[str, list[Spent]]:
    """Give the times of each side."""
    sides = {f"{2 * members} signatures x{DECISIONS}": Signatures(members).verify, "token": PlainToken().verify}
    found: dict[str, list[Spent]] = {name: [] for name in ("product: release", "product: follow", *sides)}
    for _ in range(repeated):
        deciding, following = product.next_run()()
        found["product: release"].append(deciding)
        found["product: follow"].append(following)
        for name, verify in sides.items():
            found[name].append(spent(verify)[0])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", default="3,10,100")
    parser.add_argument("--entries", default="1000,100000")
    parser.add_argument("--repeat", type=int, default=60)
    given = parser.parse_args()
    print(f"{'members':>7}{'entries':>9}  {'':22}{'median':>12}{'95 %':>12}{'processor':>12}{'product/this':>14}{'peak':>10}")
    for members in map(int, given.members.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            product = Product(members, Path(folder))
            for entries in map(int, given.entries.split(",")):
                product.grow(entries)
                found = measure(product, given.repeat, members)
                peak = peak_bytes(product.next_run())
                show(members, entries, found, peak)


def show(members: int, entries: int, found: dict[str, list[Spent]], peak: int) -> None:
    """Print a row of each side."""
    processor = {name: statistics.median(each.processor for each in all_of_it) for name, all_of_it in found.items()}
    ours = next(iter(processor))
    for name, all_of_it in found.items():
        wall = [each.wall for each in all_of_it]
        times = (statistics.median(wall), percentile_95(wall), processor[name])
        ratio = "" if name.startswith("product") else f"{processor[ours] / processor[name]:.1f}"
        memory = f"{peak / 1024:6.0f} KiB" if name == ours else ""
        shown = "".join(f"{each * 1e3:10.3f}ms" for each in times)
        print(f"{members:7}{entries:9}  {name:22}{shown}{ratio:>14}{memory:>10}", flush=True)


if __name__ == "__main__":
    main()
