"""Members on machines of their own: what they sign, send and fetch goes through the coordinator's API alone."""

import json
from pathlib import Path

import httpx
import pytest

from opaque_jobs.client.publishing import attach_made_test_data, publish_dataset, share_dataset, unshare_dataset
from opaque_jobs.client.remote import RemoteFiles
from opaque_jobs.client.reviews import cast_vote, submit_job
from opaque_jobs.client.signed_names import named_job, named_workspace
from opaque_jobs.client.withdrawals import tell_withdrawals, withdraw_consent
from opaque_jobs.data.dataset_files import verify_files
from opaque_jobs.domain import dataset as words
from opaque_jobs.domain.job import parse_job_spec
from opaque_jobs.domain.lifecycle import JobStatus
from opaque_jobs.domain.review import Decision
from opaque_jobs.errors import ConfigurationError, ConflictError, DeniedError, TrustError
from opaque_jobs.protocol.operations import API_PREFIX


def accepted(desk) -> str:
    job = desk.cast.make_job().id
    session, anna, key = desk.who("anna")
    seen = parse_job_spec(session.jobs.spec_for_submission(job)).digest
    submit_job(session, anna, key, job, test_run_id=None, no_test_reason="tried elsewhere", expected_digest=seen)
    for name in ("ben", "lea"):
        view = cast_vote(*desk.who(name), job, decision=Decision.APPROVE, expected_digest=desk.digest(job))
    assert view.status is JobStatus.ACCEPTED
    return job


def test_job_is_submitted_approved_and_withdrawn_from_homes_that_share_nothing(desk):
    job = accepted(desk)
    assert named_workspace(*desk.who("lea")[:2], "Study") == desk.cast.workspace_id
    assert named_job(*desk.who("lea")[:2], "Overlap") == (desk.cast.workspace_id, job)
    withdraw_consent(*desk.who("lea"), job)
    assert desk.told(desk.digest(job)) == [1, 1]
    tell_withdrawals(*desk.who("lea")[:2], desk.cast.workspace_id)
    assert {each.name for each in desk.settings_of("lea").home.rglob("*") if each.is_file()} == {
        "lea.member.json", "lea.memory.db",
    }  # fmt: skip


def test_key_is_asked_once_for_a_session_of_twelve_hours(desk):
    session, key = desk.who("ben")[0], desk.keys["ben"]
    for minutes, asked in ((0, 1), (1, 1), (30, 1), (60 * 12, 2)):
        desk.cast.clock.forward(minutes=minutes)
        session.jobs.list()
        assert key.count == asked


def test_data_set_is_encrypted_at_home_and_reaches_storage_and_broker(desk, tmp_path):
    (tmp_path / "letters.csv").write_text("id,word\n" + "".join(f"{row},w{row}\n" for row in range(500)))
    session, anna, key = desk.who("anna")
    published = publish_dataset(session, anna, key, source=tmp_path / "letters.csv", name="letters")
    (version,) = published.view.versions
    verify_files(version.manifest, desk.cast.services.context.settings.dataset_dir(published.view.id, 1))
    attach_made_test_data(session, anna, key, published.view, kind=words.TestDataKind.MOCK, source=None, rows=20, seed=1)
    share_dataset(session, anna, key, dataset_id=published.view.id, workspace_id=desk.cast.workspace_id)
    assert session.datasets.show(published.view.id).test_files
    assert unshare_dataset(session, anna, key, dataset_id=published.view.id, workspace_id=desk.cast.workspace_id) == ()
    assert not [each for each in session.settings.home.iterdir() if each.name.startswith(".")]
    with desk.house.brokers["hospital"].store.transaction() as memory:
        assert memory.deposit(published.view.id, 1) is not None


class Lossy(httpx.BaseTransport):
    """Carries each request, and loses the answers to some."""

    def __init__(self, inner, lose) -> None:
        self.inner, self.lose, self.requests = inner, lose, []

    def handle_request(self, request):
        self.requests.append((request.method, request.url.path))
        answer = self.inner.handle_request(request)
        if self.lose(request):
            raise httpx.ReadError("lost")
        return answer


def test_upload_whose_answers_are_lost_arrives_once_and_whole(desk, tmp_path):
    data = bytes(range(256)) * 100
    (tmp_path / "files").mkdir()
    for name, content in (("a.parquet", data), ("empty", b""), ("b.parquet", data[::-1])):
        (tmp_path / "files" / name).write_bytes(content)
    lost = iter([True, False, False, True])
    transport = Lossy(desk.transport, lambda request: request.method == "PUT" and next(lost, False))
    with desk.session("anna", transport) as session:
        session.close = lambda: None
        upload = session.files.upload(tmp_path / "files")
        found = {each.name: each.size_bytes for each in session.uploads.show(upload).files}
    assert found == {"a.parquet": len(data), "b.parquet": len(data), "empty": 0}


def test_sealed_files_of_a_run_are_fetched_and_gone_after_use(desk):
    study = desk.cast
    run = study.open_run(accepted(desk))
    study.services.runs.start(run.id)
    study.finish(run.id)
    folder = study.services.context.settings.result_dir(run.id)
    (folder / "more").mkdir(parents=True)
    (folder / "log.sealed.json").write_bytes(b"0123456789")
    (folder / "more" / "empty").write_bytes(b"")
    session = desk.who("ben")[0]
    with session.files.run_files(run.id) as fetched:
        assert (fetched / "log.sealed.json").read_bytes() == b"0123456789"
        assert (fetched / "more" / "empty").read_bytes() == b""
    assert not fetched.exists()
    with pytest.raises(DeniedError), desk.who("lea")[0].files.run_files(run.id):
        pass


class Lying(httpx.BaseTransport):
    """A coordinator that lists what it likes."""

    def __init__(self, inner, listed) -> None:
        self.inner, self.listed = inner, listed

    def handle_request(self, request):
        if request.url.path == f"{API_PREFIX}/runs/run-1/files":
            return httpx.Response(200, content=json.dumps(self.listed).encode())
        if request.url.path.startswith(f"{API_PREFIX}/runs/run-1/files/"):
            return httpx.Response(206, content=b"12345")
        return self.inner.handle_request(request)


@pytest.mark.parametrize("name", ["../outside", "/outside", "a/../../outside", ""])
def test_file_whose_name_leads_elsewhere_is_refused_and_nothing_is_written(desk, name):
    with desk.session("ben", Lying(desk.transport, [{"name": name, "size_bytes": 5}])) as session:
        session.close = lambda: None
        with pytest.raises((TrustError, ConfigurationError)), session.files.run_files("run-1"):
            pass
    assert not list(Path(desk.cast.home.parent).rglob("outside"))


def test_coordinator_that_sends_more_than_it_listed_is_refused(desk):
    with desk.session("ben", Lying(desk.transport, [{"name": "log", "size_bytes": 3}])) as session:
        session.close = lambda: None
        with pytest.raises(Exception, match="changed while it was fetched"), session.files.run_files("run-1"):
            pass


def test_conflict_that_tells_no_place_to_go_on_from_ends_the_upload(tmp_path):
    class Refusing:
        def send(self, *_positional, **_named):
            raise ConflictError("no", hint="no", size_bytes=0)

        def call(self, operation, _arguments):
            return type("Begun", (), {"id": "up-1"})() if operation.name == "begin" else None

    (tmp_path / "a").write_bytes(b"1")
    with pytest.raises(ConflictError):
        RemoteFiles(Refusing(), tmp_path).upload(tmp_path)
