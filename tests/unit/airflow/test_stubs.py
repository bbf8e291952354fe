import os
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opaque_jobs.airflow.stubs import Journal, Stub, deployable_stubs, sync_folder
from opaque_jobs.domain.lifecycle import JobStatus
from opaque_jobs.errors import InvalidInputError, NotFoundError


def make_stub(**over):
    return Stub(**({"job_id": "job-a", "revision": 1, "marker": "accepted"} | over))


def deployable(job_id="job-a", revision=1, status=JobStatus.ACCEPTED, marker="m"):
    return SimpleNamespace(job_id=job_id, revision=revision, status=status, marker=marker)


def test_stub_text_holds_ids_and_nothing_else():
    assert make_stub(job_id="job-b", revision=7).text.count("job-b") == 1
    assert "revision=7" in make_stub(revision=7).text


@pytest.mark.parametrize("over", [{"job_id": '")\nimport os  #'}, {"job_id": "../x"}, {"marker": "x\ny"}, {"revision": 0}])
def test_stub_whose_id_could_be_code_is_refused(over):
    with pytest.raises(InvalidInputError):
        make_stub(**over)


def test_sync_folder_leaves_unchanged_files_their_time(tmp_path):
    sync_folder(tmp_path, [make_stub(), make_stub(job_id="job-b")])
    old = 1_000_000_000
    for path in tmp_path.glob("*.py"):
        os.utime(path, (old, old))
    sync_folder(tmp_path, [make_stub(), make_stub(job_id="job-b", revision=2)])
    assert (tmp_path / "job-a.py").stat().st_mtime == old
    assert (tmp_path / "job-b.py").stat().st_mtime > old


def test_sync_folder_changed_twice_within_a_second_gives_each_file_another_whole_second(tmp_path):
    # Python compares whole seconds and the size to tell whether its compiled form is still right.
    seconds = []
    for revision in (1, 2, 3):
        sync_folder(tmp_path, [make_stub(revision=revision)])
        seconds.append(int((tmp_path / "job-a.py").stat().st_mtime))
    assert len(set(seconds)) == 3


def test_sync_folder_removes_a_job_that_is_gone(tmp_path):
    sync_folder(tmp_path, [make_stub(), make_stub(job_id="job-b")])
    sync_folder(tmp_path, [make_stub(job_id="job-b")])
    assert [path.name for path in tmp_path.glob("*.py")] == ["job-b.py"]


def test_journal_without_change_keeps_its_version(tmp_path):
    journal = Journal.read(tmp_path / "journal").advance([make_stub()])
    assert journal.advance([make_stub()]).version == journal.version


def test_journal_read_at_an_old_version_gives_the_old_revision(tmp_path):
    path = tmp_path / "journal"
    first = Journal.read(path).advance([make_stub()])
    Journal.read(path).advance([make_stub(revision=2), make_stub(job_id="job-b")])
    assert Journal.read(path, version=first.version).stubs == {"job-a": make_stub()}


def test_journal_whose_past_was_edited_refuses_the_version(tmp_path):
    path = tmp_path / "journal"
    first = Journal.read(path).advance([make_stub()])
    path.write_text(path.read_text().replace('"revision":1', '"revision":9'))
    with pytest.raises(NotFoundError):
        Journal.read(path, version=first.version)


@given(
    st.lists(
        st.dictionaries(st.sampled_from(["job-a", "job-b", "job-c"]), st.integers(1, 5)),
        max_size=6,
    )
)
def test_journal_replays_every_version_it_ever_gave(tmp_path_factory, history):
    path = tmp_path_factory.mktemp("journal") / "journal"
    given_out = {}
    for state in history:
        stubs = [make_stub(job_id=job_id, revision=revision) for job_id, revision in state.items()]
        version = Journal.read(path).advance(stubs).version
        given_out[version] = {stub.job_id: stub for stub in stubs}
    for version, stubs in given_out.items():
        assert Journal.read(path, version=version).stubs == stubs


def test_deployable_stubs_with_a_revision_under_review_keeps_the_accepted_one():
    stubs = deployable_stubs([deployable(revision=2, status=JobStatus.UNDER_REVIEW), deployable(revision=1)])
    assert [(stub.job_id, stub.revision) for stub in stubs] == [("job-a", 1)]


def test_deployable_stubs_in_any_order_are_the_same():
    revisions = [deployable(job_id=f"job-{letter}") for letter in "cab"]
    assert deployable_stubs(revisions) == deployable_stubs(reversed(revisions))
