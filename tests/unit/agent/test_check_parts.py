"""Files of a data set against its signed manifest."""

import pytest

from opaque_jobs.domain.canonical import digest
from opaque_jobs.domain.dataset import Part
from opaque_jobs.enclave.agent.parts import check_parts
from opaque_jobs.errors import TrustError
from tests.world import World


@pytest.fixture
def manifest():
    parts = tuple(
        Part(name=f"part-0000{i}.parquet", size_bytes=len(content), sha256=digest(content), rows=1)
        for i, content in enumerate([b"first", b"second"])
    )
    return World().hospital.manifest(parts=parts, rows=2)


@pytest.fixture
def root(tmp_path, manifest):
    folder = tmp_path / "people"
    folder.mkdir()
    for part, content in zip(manifest.parts, [b"first", b"second"], strict=True):
        (folder / part.name).write_bytes(content)
    return tmp_path


def test_parts_as_signed_pass(root, manifest):
    check_parts({"people": manifest}, root=root)


@pytest.mark.parametrize("content", [b"fir", b"firsT", b"first+", b"second"])
def test_parts_with_other_content_are_refused(root, manifest, content):
    (root / "people" / "part-00000.parquet").write_bytes(content)

    with pytest.raises(TrustError):
        check_parts({"people": manifest}, root=root)


def test_parts_with_one_missing_are_refused(root, manifest):
    (root / "people" / "part-00001.parquet").unlink()

    with pytest.raises(TrustError):
        check_parts({"people": manifest}, root=root)


def test_parts_with_one_more_are_refused(root, manifest):
    (root / "people" / "part-00002.parquet").write_bytes(b"more")

    with pytest.raises(TrustError):
        check_parts({"people": manifest}, root=root)


def test_parts_swapped_are_refused(root, manifest):
    first, second = (root / "people" / part.name for part in manifest.parts)
    first.write_bytes(b"second")
    second.write_bytes(b"first")

    with pytest.raises(TrustError):
        check_parts({"people": manifest}, root=root)


def test_parts_behind_a_link_are_refused(root, manifest):
    part = root / "people" / "part-00000.parquet"
    part.rename(root / "elsewhere")
    part.symlink_to(root / "elsewhere")

    with pytest.raises(TrustError):
        check_parts({"people": manifest}, root=root)
