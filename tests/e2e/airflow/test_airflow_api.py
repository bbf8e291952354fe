"""The coordinator's API inside a real Airflow: members come by key or by Airflow's session, others do not."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import httpx
import pytest

from opaque_jobs.airflow.logins import ADMIN_LOGIN
from opaque_jobs.client.connection import Connection, bind
from opaque_jobs.crypto.keys import SigningKey
from opaque_jobs.crypto.login import Login, sign_login, sign_proof
from opaque_jobs.protocol.api import NOUNS
from opaque_jobs.protocol.operations import API_PREFIX

pytestmark = pytest.mark.airflow


class Held:
    def __init__(self, token, key):
        self.held = token, key

    def token(self, *, renew):
        return self.held


def log_in(cast, http, name):
    person, key, now = cast.people[name], SigningKey.generate(), datetime.now(UTC)
    login = Login(
        v=1,
        coordinator=str(http.base_url).rstrip("/"),
        member_id=person.id,
        session_key=key.public.text,
        challenge=http.post(f"{API_PREFIX}/auth/challenge").json()["challenge"],
        issued_at=now,
        expires_at=now + timedelta(hours=1),
    )
    path = f"{API_PREFIX}/auth/token"
    proof = sign_proof(key, method="POST", target=path, token="", now=now)
    answer = http.post(
        path, json={"member_id": person.id, "login": sign_login(login, person.key).decode()}, headers={"DPoP": proof}
    )
    assert answer.status_code == 200, answer.text
    return Held(answer.json()["token"], key)


@pytest.fixture
def http(stack):
    with httpx.Client(base_url=stack.address, trust_env=False, timeout=60) as client:
        yield client


def test_member_asks_by_key_in_a_real_airflow(cast, http, new_job):
    job = new_job()
    connection = Connection(http, log_in(cast, http, "lea"))
    nouns = SimpleNamespace(**{noun: bind(declared, noun, connection) for noun, declared in NOUNS.items()})
    assert nouns.people.me().name == "lea"
    assert nouns.people.me().via == "key"
    assert nouns.jobs.show(job.id).draft == job.draft
    assert job.id in {each.id for each in nouns.jobs.list(limit=500).items}


def session_of(as_person, name):
    return as_person(name)._client.headers["Authorization"].removeprefix("Bearer ")


def cookie(token):
    return {"Cookie": f"_token={token}"}


def test_person_reads_by_airflows_own_session_and_changes_from_its_pages_only(http, stack, as_person, new_job):
    job, session = new_job(), cookie(session_of(as_person, "anna"))
    shown = http.get(f"{API_PREFIX}/jobs/{job.id}", headers=session)
    assert shown.json()["id"] == job.id
    assert http.get(f"{API_PREFIX}/me", headers=session).json()["via"] == "airflow"
    archive = f"{API_PREFIX}/jobs/{job.id}/archive"
    assert http.post(archive, headers=session).status_code == 401
    assert http.post(archive, headers=session | {"Origin": "http://evil.test"}).status_code == 403
    assert http.post(archive, headers=session | {"Origin": stack.address}).status_code == 200


@pytest.mark.parametrize("headers", [{}, {"Cookie": "_token=made-up"}])
def test_nobody_and_strangers_are_refused(http, headers):
    answer = http.get(f"{API_PREFIX}/jobs", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


def test_administrator_of_airflow_is_no_member(cast, http, as_person):
    answer = http.get(f"{API_PREFIX}/jobs", headers=cookie(session_of(as_person, ADMIN_LOGIN)))
    assert answer.status_code == 401
