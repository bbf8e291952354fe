import pytest

from opaque_jobs.crypto.keys import SealingKey
from opaque_jobs.errors import TrustError
from opaque_jobs.protocol.result_files import Content, open_file, seal_info, sealed_file


def make_info(**over):
    given = {"workspace_id": "ws-1", "job_digest": "sha256:" + "0" * 64, "run_id": "run-1"}
    return seal_info(over.pop("content", Content.LOG), **(given | over))


def test_sealed_file_opens_for_each_recipient():
    keys = [SealingKey.generate(), SealingKey.generate()]
    data = sealed_file(b"text", [key.public for key in keys], make_info())

    assert [open_file(data, key, make_info()) for key in keys] == [b"text", b"text"]


def test_sealed_file_opens_for_nobody_else():
    data = sealed_file(b"text", [SealingKey.generate().public], make_info())

    with pytest.raises(TrustError):
        open_file(data, SealingKey.generate(), make_info())


@pytest.mark.parametrize("over", [{"run_id": "run-2"}, {"content": Content.PREVIEW}, {"workspace_id": "ws-2"}])
def test_sealed_file_opens_in_no_other_context(over):
    key = SealingKey.generate()
    data = sealed_file(b"text", [key.public], make_info())

    with pytest.raises(TrustError):
        open_file(data, key, make_info(**over))
