"""The sealed stream in which a result leaves: what it hides, and that every change to it is noticed."""

import pytest

from opaque_jobs.crypto.result_file import open_result, sealed_result
from opaque_jobs.domain.padding import padded_size
from opaque_jobs.errors import TrustError

KEY = bytes(range(32))
CHUNK = (1 << 20) + 16


@pytest.fixture
def sealed(tmp_path):
    def make(*contents: bytes, run_id: str = "run-1") -> bytes:
        files = []
        for index, content in enumerate(contents):
            files.append(tmp_path / f"made-{index}")
            files[-1].write_bytes(content)
        return b"".join(sealed_result(files, KEY, run_id=run_id))

    return make


@pytest.fixture
def opened(tmp_path):
    def open_(data: bytes, *, key: bytes = KEY, run_id: str = "run-1") -> list[bytes]:
        source, folder = tmp_path / "result.sealed", tmp_path / "opened"
        source.write_bytes(data)
        folder.mkdir(exist_ok=True)
        for path in folder.iterdir():
            path.unlink()
        return [path.read_bytes() for path in open_result(source, folder, key, run_id=run_id)]

    return open_


@pytest.mark.parametrize(
    "contents",
    [(), (b"",), (b"a",), (b"a", b"", b"bc"), (b"x" * (3 << 20), b"y" * 77), (b"z" * ((1 << 20) - 12),), (b"z" * (1 << 20),)],
    ids=["none", "empty", "one", "three", "large", "whole chunk", "chunk and more"],
)
def test_result_file_gives_back_its_files_in_order(sealed, opened, contents):
    assert opened(sealed(*contents)) == list(contents)


def test_result_file_length_tells_only_the_padded_sum(sealed):
    lengths = {len(sealed(*[b"x" * size] * count)) for size, count in [(1, 1), (1, 200), (900, 3), (2000, 1)]}

    assert lengths == {padded_size(0) + 16}


def test_result_file_shows_nothing_of_its_content(sealed):
    assert b"canary" not in sealed(b"canary" * 100)


@pytest.mark.parametrize("place", [0, 5, CHUNK - 1, CHUNK, 2 * CHUNK + 3, -1])
def test_result_file_with_a_flipped_bit_is_refused(sealed, opened, place):
    data = bytearray(sealed(b"x" * (5 << 19)))
    data[place] ^= 1

    with pytest.raises(TrustError):
        opened(bytes(data))


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:CHUNK],
        lambda data: data[:-1],
        lambda data: data[: len(data) - 20],
        lambda data: data[CHUNK : 2 * CHUNK] + data[:CHUNK] + data[2 * CHUNK :],
        lambda data: data + data[-16:],
        lambda data: b"",
    ],
    ids=["cut at a chunk", "cut by one", "cut", "swapped chunks", "longer", "nothing"],
)
def test_result_file_that_was_cut_or_rearranged_is_refused(sealed, opened, change):
    with pytest.raises(TrustError):
        opened(change(sealed(b"x" * (5 << 19))))


@pytest.mark.parametrize(
    "change",
    [lambda data: data[:-CHUNK], lambda data: data[:-1] + bytes([data[-1] ^ 1])],
    ids=["cut", "flipped"],
)
def test_result_file_whose_last_chunk_is_padding_only_and_was_changed_is_refused(sealed, opened, change):
    content = b"x" * (64 << 20)
    data = sealed(content)
    assert len(data) == 66 * CHUNK  # the content ends in the 65th

    assert opened(data) == [content]
    with pytest.raises(TrustError):
        opened(change(data))


def test_result_file_of_another_run_or_key_is_refused(sealed, opened):
    data = sealed(b"a")

    with pytest.raises(TrustError):
        opened(data, run_id="run-2")
    with pytest.raises(TrustError):
        opened(data, key=bytes(32))
