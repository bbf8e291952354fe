import pytest

from opaque_jobs.crypto.keys import SealingKey
from opaque_jobs.errors import TrustError
from opaque_jobs.protocol.enclave import Mode
from opaque_jobs.protocol.result_files import Content, is_layout, open_file, seal_info, sealed_file

REAL = ["result.sealed", "result.key.json", "preview.sealed.json", "log.sealed.json", "receipt.json"]
TEST = ["result/part-00000.parquet", "preview.arrow", "log.txt"]


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


def test_sealed_files_of_short_texts_have_one_length():
    key = SealingKey.generate()

    assert len({len(sealed_file(b"x" * size, [key.public], make_info())) for size in (0, 1, 77, 4000)}) == 1


@pytest.mark.parametrize(
    ("names", "mode", "succeeded"),
    [
        (REAL, Mode.REAL, True),
        (TEST, Mode.TEST, True),
        ([*TEST, "result/part-00001.parquet"], Mode.TEST, True),
        (["log.sealed.json"], Mode.REAL, False),
        (["log.txt"], Mode.TEST, False),
        ([], Mode.REAL, False),
    ],
)
def test_layout_holds_what_a_run_leaves(names, mode, succeeded):
    assert is_layout(names, mode, succeeded=succeeded)


@pytest.mark.parametrize(
    ("names", "mode", "succeeded"),
    [
        ([], Mode.REAL, True),
        ([*REAL, "result/part-00000.parquet"], Mode.REAL, True),
        (REAL[1:], Mode.REAL, True),
        (TEST, Mode.REAL, True),
        (REAL, Mode.REAL, False),
        (["log.txt"], Mode.REAL, False),
        ([*TEST, "result/city=Bern/part-00000.parquet"], Mode.TEST, True),
        ([*TEST, "result/part-00000-0f0f.parquet"], Mode.TEST, True),
        ([*TEST, "result/part-00000.parquet.crc"], Mode.TEST, True),
        (["preview.arrow", "log.txt"], Mode.TEST, True),
    ],
)
def test_layout_holds_nothing_else(names, mode, succeeded):
    assert not is_layout(names, mode, succeeded=succeeded)
