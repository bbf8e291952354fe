import pytest

from opaque_jobs.crypto.login import sign_proof
from tests.support.toy_coordinator import ToyCoordinator

PATH = "/opaque-jobs/api/v1/toys"
KEY = "k" * 16


@pytest.fixture
def coordinator():
    made = ToyCoordinator()
    yield made
    made.http.close()


def post(coordinator, body, *, name="anna", key=KEY, path=PATH):
    token, session = coordinator.sessions(name).held
    proof = sign_proof(session, method="POST", target=path, token=token, now=coordinator.now)
    headers = {"Authorization": f"DPoP {token}", "DPoP": proof} | ({"Idempotency-Key": key} if key else {})
    return coordinator.http.post(path, json=body, headers=headers)


RED = {"colour": "red", "picture": ""}


def test_change_asked_for_twice_under_one_key_happens_once(coordinator):
    first, second = post(coordinator, RED), post(coordinator, RED)
    assert (first.status_code, first.content) == (second.status_code, second.content)
    assert first.headers["etag"] == second.headers["etag"]
    assert second.headers["idempotent-replayed"] == "true"
    assert len(coordinator.use_cases.toys) == 1


def test_key_used_for_something_else_is_refused(coordinator):
    post(coordinator, RED)
    assert post(coordinator, {"colour": "blue", "picture": ""}).status_code == 409
    assert post(coordinator, {}, path="/opaque-jobs/api/v1/broken").status_code == 409
    assert len(coordinator.use_cases.toys) == 1


def test_key_of_one_member_is_not_anothers(coordinator):
    post(coordinator, RED)
    assert post(coordinator, RED, name="lea").json()["id"] == "toy-2"


def test_change_that_failed_may_be_asked_again_under_its_key(coordinator):
    assert post(coordinator, {"colour": "red"}).status_code == 400
    assert post(coordinator, RED).status_code == 200


@pytest.mark.parametrize("key", ["short", "x" * 129, "with space and more"])
def test_key_of_another_form_is_refused(coordinator, key):
    assert post(coordinator, RED, key=key).status_code == 400


def test_change_without_key_happens_each_time(coordinator):
    for _ in range(2):
        post(coordinator, RED, key=None)
    assert len(coordinator.use_cases.toys) == 2
