"""A tree's measurement: what changes it, and that no change goes unseen."""

import json
import os

import pytest

from opaque_jobs.domain.canonical import digest
from opaque_jobs.enclave.runtime.measurement import MANIFEST_NAME, check_tree, verify_tree, write_manifest
from opaque_jobs.errors import TrustError


@pytest.fixture
def built(tmp_path):
    make_tree(tmp_path)
    return tmp_path, write_manifest(tmp_path)


def make_tree(base):
    root = base / "root"
    (root / "usr" / "bin").mkdir(parents=True)
    (root / "usr" / "bin" / "tool").write_bytes(b"program")
    (root / "usr" / "bin" / "tool").chmod(0o555)
    (root / "usr" / "data").write_bytes(b"data")
    (root / "bin").symlink_to("usr/bin")
    (root / "empty").mkdir()


def keep_times(path, change):
    """Change a file and put its size's and time's look back, as someone who hides would."""
    before = path.stat()
    change()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES = {
    "content": lambda root: (root / "usr" / "data").write_bytes(b"DATA"),
    "content and time put back": lambda root: keep_times(
        root / "usr" / "data", lambda: (root / "usr" / "data").write_bytes(b"DATA")
    ),
    "file added": lambda root: (root / "usr" / "more").touch(),
    "folder added": lambda root: (root / "more").mkdir(),
    "file removed": lambda root: (root / "usr" / "data").unlink(),
    "folder removed": lambda root: (root / "empty").rmdir(),
    "mode": lambda root: (root / "usr" / "data").chmod(0o777),
    "set-user-id": lambda root: (root / "usr" / "bin" / "tool").chmod(0o4555),
    "folder's mode": lambda root: (root / "usr").chmod(0o777),
    "link's target": lambda root: ((root / "bin").unlink(), (root / "bin").symlink_to("/usr/bin")),
    "link made a folder": lambda root: ((root / "bin").unlink(), (root / "bin").mkdir()),
    "file made a link": lambda root: ((root / "usr" / "data").unlink(), (root / "usr" / "data").symlink_to("bin/tool")),
    "file replaced": lambda root: ((root / "usr" / "data").unlink(), (root / "usr" / "data").write_bytes(b"DATA")),
    "pipe": lambda root: os.mkfifo(root / "usr" / "pipe"),
}


def test_measurement_is_the_digest_of_the_manifest(built):
    base, measurement = built
    assert measurement == digest((base / MANIFEST_NAME).read_bytes())
    assert [entry["path"] for entry in json.loads((base / MANIFEST_NAME).read_bytes())] == [
        "/bin", "/empty", "/usr", "/usr/bin", "/usr/bin/tool", "/usr/data",
    ]  # fmt: skip


def test_measurement_of_the_same_tree_elsewhere_is_the_same(built, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    make_tree(other)
    assert write_manifest(other) == built[1]


def test_measurement_of_an_unchanged_tree_holds(built):
    base, measurement = built
    assert check_tree(base) == verify_tree(base) == measurement


@pytest.mark.parametrize("check", [check_tree, verify_tree])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_measurement_sees_every_change(built, change, check):
    base, _ = built
    change(base / "root")
    with pytest.raises(TrustError):
        check(base)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_measurement_of_a_changed_tree_differs(built, change):
    base, measurement = built
    change(base / "root")
    try:
        assert write_manifest(base) != measurement
    except TrustError:
        assert (base / "root" / "usr" / "pipe").exists()


def test_measurement_check_reads_only_what_changed(built):
    base, measurement = built
    data = base / "root" / "usr" / "data"
    data.touch()
    assert check_tree(base) == measurement
    cache = json.loads((base / "stat.json").read_text())
    assert cache["/usr/data"][1] == data.stat().st_mtime_ns


@pytest.mark.parametrize("content", [None, b"", b"[]", b"{}", b"not json", b'{"/usr/data": null}'])
def test_measurement_check_does_without_its_cache(built, content):
    base, measurement = built
    cache = base / "stat.json"
    if content is None:
        cache.unlink()
    else:
        cache.write_bytes(content)
    assert check_tree(base) == measurement


@pytest.mark.parametrize("content", [None, b"", b"{}", b"[1]", b"null"])
def test_measurement_without_a_manifest_is_refused(built, content):
    base, _ = built
    if content is None:
        (base / MANIFEST_NAME).unlink()
    else:
        (base / MANIFEST_NAME).write_bytes(content)
    with pytest.raises(TrustError):
        check_tree(base)


def test_measurement_follows_the_manifest_that_is_there(built):
    base, measurement = built
    entries = json.loads((base / MANIFEST_NAME).read_bytes())
    (base / "root" / "usr" / "more").touch()
    with pytest.raises(TrustError):
        check_tree(base)
    assert write_manifest(base) != measurement
    assert len(json.loads((base / MANIFEST_NAME).read_bytes())) == len(entries) + 1
