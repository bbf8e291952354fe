"""One decision of a broker, with what is shown and known; and attacks on it, each of which changes some of that."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from opaque_jobs.attestation.simulated import SimulatedVerifier
from opaque_jobs.broker.policy import Case, Holding, Knowledge, Refused, decide
from opaque_jobs.domain.log import EntryKind
from tests.world import NOW, Enclave, World, salted

OTHER_DIGEST = "sha256:" + "77" * 32


@dataclass
class Attempt:
    """What is shown and known; an attack changes some of it."""

    world: World
    spec_over: dict[str, Any] = field(default_factory=dict)
    bundle_over: dict[str, Any] = field(default_factory=dict)
    case_over: dict[str, Any] = field(default_factory=dict)
    evidence_over: dict[str, Any] = field(default_factory=dict)
    known_over: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, Any] = field(default_factory=dict)
    refreshed: dict[str, str] = field(default_factory=dict)
    manifests: dict[str, str] = field(default_factory=dict)
    roster: Any = None
    earlier: list[Any] = field(default_factory=list)
    now: Any = NOW

    def spec(self):
        return self.world.make_spec(self.roster or self.world.make_roster(), **self.spec_over)

    def decide(self):
        return decide(self.case(), self.knowledge(), now=self.now)

    def case(self) -> Case:
        world, spec = self.world, self.spec()
        roster = self.roster or world.make_roster()
        bundle = world.make_bundle(spec, roster, inputs=self.inputs, **self.bundle_over)
        enclave = Enclave(world, spec, bundle, **self.inputs)
        enclave.refreshed = self.refreshed
        enclave.manifests |= self.manifests
        verified = SimulatedVerifier([world.development_key.public]).verify(enclave.evidence("bm9uY2U="), now=NOW)
        case = Case(
            spec=spec,
            bundle=bundle,
            run_id="run-1",
            inputs=enclave.inputs,
            refreshed=enclave.refreshed,
            keys=enclave.keys,
            nonce="bm9uY2U=",
            evidence=replace(verified, **self.evidence_over),
        )
        return replace(case, **self.case_over)

    def knowledge(self) -> Knowledge:
        home = self.world.hospital
        holding = Holding(manifest_digest=home.manifest().digest, salted=salted(home.policy()))
        return replace(
            Knowledge(
                organisation_id=home.id,
                deposit_key=home.broker.sealing.public.text,
                signing_key=home.broker.signing.public.text,
                members=tuple(member.entry for member in home.members),
                roster=None,
                earlier={each.digest: each for each in self.earlier}.get,
                withdrawals=(),
                held=frozenset(),
                lost=False,
                latest=NOW,
                log_root=lambda size: self.world.log.checkpoint(size).root if size <= self.world.log.tree.size else None,
                log_seen=lambda size: NOW if size <= self.world.log.tree.size else None,
                holdings={(home.dataset_id, 1): holding},
                shared=frozenset({home.dataset_id}),
                releases=(),
                released_to=None,
                simulated_keys=frozenset({self.world.development_key.public.text}),
            ),
            **self.known_over,
        )

    def held_back(self, until: Any) -> None:
        """Let the broker see the last approval, and no other, in the log at another time."""
        votes = self.world.votes(self.spec())
        self.bundle_over["approvals"] = votes
        for text in votes:
            self.world.log.once(EntryKind.VOTE, "ws-1", text.encode())
        last = self.world.log.tree.size
        self.known_over["log_seen"] = lambda size: NOW if size < last else until

    def leave_ben_out(self) -> None:
        """Make the next member list without ben; everybody in it signs, votes and is known."""
        before = self.world.make_roster()
        self.known_over["roster"] = before
        self.known_over["members"] = tuple(member.entry for member in self.world.hospital.members)
        self.world.hospital.members.remove(self.world.ben)
        self.roster = self.world.next_roster(before)


class Attacks:
    """Attacks as parameters of a test; `attack` is called with the attempt.

    Used as a decorator that is given the reasons for which the attack has to be refused.
    """

    def __init__(self) -> None:
        self.params: list[Any] = []

    def __call__(self, *reasons: str) -> Callable[[Callable[[Attempt], None]], Callable[[Attempt], None]]:
        def register(function: Callable[[Attempt], None]) -> Callable[[Attempt], None]:
            self.params.append(pytest.param(function, reasons, id=function.__name__))
            return function

        return register


def refused_for(function: Callable[[Attempt], None], reasons: tuple[str, ...]) -> None:
    """Try an attack, which is refused for these reasons and no others."""
    attempt = Attempt(World())
    function(attempt)
    decision = attempt.decide()
    assert isinstance(decision, Refused)
    assert set(decision.reasons) == set(reasons)
