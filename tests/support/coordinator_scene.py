"""The cast's services behind the API, and each of them as a client of it."""

from datetime import timedelta
from types import SimpleNamespace

import httpx

from opaque_jobs.api.coordinator import coordinator_api, whole
from opaque_jobs.api.in_process import InProcess
from opaque_jobs.client.connection import Connection, bind
from opaque_jobs.crypto.keys import SigningKey
from opaque_jobs.crypto.login import Login, sign_login, sign_proof
from opaque_jobs.domain.lifecycle import RunEvent
from opaque_jobs.protocol.api import NOUNS
from opaque_jobs.protocol.operations import API_PREFIX

ORIGIN = "https://coordinator.test"


class Sessions:
    """A member's session, logged in with their key when it is first asked for."""

    def __init__(self, scene, name):
        self._scene, self._name = scene, name
        self._key, self._held = SigningKey.generate(), None

    def token(self, *, renew):
        if self._held is None or renew:
            person, now, http = self._scene.study.people[self._name], self._scene.study.clock(), self._scene.http
            login = Login(
                v=1,
                coordinator=ORIGIN,
                member_id=person.id,
                session_key=self._key.public.text,
                challenge=http.post(f"{API_PREFIX}/auth/challenge").json()["challenge"],
                issued_at=now,
                expires_at=now + timedelta(hours=12),
            )
            path = f"{API_PREFIX}/auth/token"
            proof = sign_proof(self._key, method="POST", target=path, token="", now=now)
            body = {"member_id": person.id, "login": sign_login(login, person.key).decode()}
            self._held = http.post(path, json=body, headers={"DPoP": proof}).json()["token"], self._key
        return self._held


class CoordinatorScene:
    """One coordinator over a consortium's services."""

    def __init__(self, study):
        self.study = study
        self.app = coordinator_api(study.services, origins=[ORIGIN])
        self.http = httpx.Client(transport=InProcess(whole(self.app)), base_url=ORIGIN)
        self._clients = {}

    def connection(self, name):
        if name not in self._clients:
            sessions = None if name is None else Sessions(self, name)
            self._clients[name] = Connection(self.http, sessions, now=self.study.clock)
        return self._clients[name]

    def as_member(self, name):
        """Give the nouns as somebody uses them; None is nobody."""
        connection = self.connection(name)
        return SimpleNamespace(**{noun: bind(declared, noun, connection) for noun, declared in NOUNS.items()})

    def finished_run(self):
        """Give a real run that succeeded, with files where its result would be."""
        study = self.study
        job = study.accepted_job()
        run = study.open_run(job.id)
        study.services.runs.start(run.id)
        study.finish(run.id, RunEvent.SUCCEED)
        folder = study.services.context.settings.result_dir(run.id)
        folder.mkdir(parents=True)
        (folder / "log.sealed.json").write_bytes(b"0123456789")
        return job, run

    def close(self):
        self.http.close()
