"""Whoever asks the coordinator must hold the member's key, for this coordinator, now, and for this very request."""

from datetime import timedelta

import pytest

from opaque_jobs.api.tokens import Tokens
from opaque_jobs.crypto.keys import SigningKey
from opaque_jobs.crypto.login import sign_proof
from tests.support.toy_coordinator import ORIGIN, ToyCoordinator

PATH = "/opaque-jobs/api/v1/toys"


@pytest.fixture
def coordinator():
    made = ToyCoordinator()
    yield made
    made.http.close()


def ask(coordinator, *, token, key, method="GET", target=PATH, proven_for=None, at=None, headers=None):
    what = {"method": method, "target": target} | (proven_for or {})
    proof = sign_proof(key, **{"token": token} | what, now=at or coordinator.now)
    return coordinator.http.request(method, target, headers={"Authorization": f"DPoP {token}", "DPoP": proof} | (headers or {}))


@pytest.fixture
def held(coordinator):
    return coordinator.sessions().held


def test_request_with_token_and_proof_is_answered(coordinator, held):
    assert ask(coordinator, token=held[0], key=held[1]).status_code == 200


def test_every_operation_without_login_is_refused(coordinator):
    for each in coordinator.operations:
        answer = coordinator.http.request(each.method, "/opaque-jobs/api/v1" + each.path.replace("{toy_id}", "toy-1"), json={})
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


@pytest.mark.parametrize(
    "changed",
    [
        {"key": SigningKey.generate()},
        {"proven_for": {"method": "DELETE"}},
        {"proven_for": {"target": PATH + "/toy-1"}},
        {"proven_for": {"token": "another"}},
        {"target": PATH + "?limit=1", "proven_for": {"target": PATH}},
    ],
)
def test_proof_of_another_key_request_or_token_is_refused(coordinator, held, changed):
    assert ask(coordinator, **{"token": held[0], "key": held[1]} | changed).status_code == 401


@pytest.mark.parametrize("seconds", [-61, 61])
def test_proof_of_another_time_is_refused(coordinator, held, seconds):
    assert ask(coordinator, token=held[0], key=held[1], at=coordinator.now + timedelta(seconds=seconds)).status_code == 401


def test_request_that_was_sent_before_is_refused(coordinator, held):
    proof = sign_proof(held[1], method="GET", target=PATH, token=held[0], now=coordinator.now)
    headers = {"Authorization": f"DPoP {held[0]}", "DPoP": proof}
    assert [coordinator.http.get(PATH, headers=headers).status_code for _ in range(2)] == [200, 401]


def test_token_that_is_over_or_of_another_coordinator_is_refused(coordinator, held):
    coordinator.now += timedelta(seconds=901)
    assert ask(coordinator, token=held[0], key=held[1]).status_code == 401
    other = Tokens(b"t" * 32)
    forged, _ = other.issue(
        coordinator.authenticator._tokens.session(held[0], now=coordinator.now - timedelta(seconds=901)),
        now=coordinator.now,
        until=coordinator.now + timedelta(hours=1),
    )
    assert ask(coordinator, token=forged, key=held[1]).status_code == 401


def test_challenge_is_no_token(coordinator, held):
    challenge = coordinator.http.post("/opaque-jobs/api/v1/auth/challenge").json()["challenge"]
    assert ask(coordinator, token=challenge, key=held[1]).status_code == 401


def test_token_without_proof_is_refused(coordinator, held):
    for scheme in ("DPoP", "Bearer"):
        assert coordinator.http.get(PATH, headers={"Authorization": f"{scheme} {held[0]}"}).status_code == 401


@pytest.mark.parametrize(
    "changed",
    [
        {"key": SigningKey.generate()},
        {"origin": "http://another.test"},
        {"challenge": "made-up"},
        {"member": "lea"},
    ],
)
def test_login_by_another_key_for_another_place_or_member_is_refused(coordinator, changed):
    envelope, session = coordinator.login(**changed)
    assert coordinator.ask_token(envelope, session).status_code == 401


def test_login_of_somebody_in_the_name_of_another_is_refused(coordinator):
    envelope, session = coordinator.login("lea")
    assert coordinator.ask_token(envelope, session, member="anna").status_code == 401
    assert coordinator.ask_token(envelope, session, member="nobody").status_code == 401


def test_login_whose_session_key_somebody_else_holds_is_refused(coordinator):
    envelope, _ = coordinator.login()
    assert coordinator.ask_token(envelope, SigningKey.generate()).status_code == 401


def test_login_that_is_over_gives_no_more_tokens(coordinator):
    envelope, session = coordinator.login(hours=1)
    assert coordinator.ask_token(envelope, session).status_code == 200
    coordinator.now += timedelta(hours=1, seconds=1)
    assert coordinator.ask_token(envelope, session).status_code == 401


def test_challenge_that_was_given_long_before_the_signature_is_refused(coordinator):
    challenge = coordinator.http.post("/opaque-jobs/api/v1/auth/challenge").json()["challenge"]
    coordinator.now += timedelta(seconds=301)
    envelope, session = coordinator.login(challenge=challenge)
    assert coordinator.ask_token(envelope, session).status_code == 401


def test_token_ends_no_later_than_the_login(coordinator):
    envelope, session = coordinator.login(hours=0.1)
    token = coordinator.ask_token(envelope, session).json()["token"]
    coordinator.now += timedelta(minutes=7)
    assert ask(coordinator, token=token, key=session).status_code == 401


def test_request_of_another_sites_page_is_refused(coordinator, held):
    answer = ask(coordinator, token=held[0], key=held[1], headers={"Origin": "http://evil.test"})
    assert answer.status_code == 403
    assert ask(coordinator, token=held[0], key=held[1], headers={"Origin": ORIGIN}).status_code == 200
