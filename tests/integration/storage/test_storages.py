"""Every storage keeps the same promises: a folder, fsspec's memory, and a real S3 protocol."""

import itertools
import os
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer

from opaque_jobs.errors import ConfigurationError, InvalidInputError, NotFoundError
from opaque_jobs.storage import open_storage
from opaque_jobs.storage.base import BLOCK_BYTES
from opaque_jobs.storage.folder import FolderStorage

_numbers = itertools.count()


@pytest.fixture(scope="module")
def s3():
    pytest.importorskip("s3fs")
    kept = {name: os.environ.get(name) for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION")}
    os.environ |= {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    options = {"client_kwargs": {"endpoint_url": f"http://{host}:{port}"}, "skip_instance_cache": True}
    import s3fs

    s3fs.S3FileSystem(**options).mkdir("bucket")
    yield options
    server.stop()
    for name, value in kept.items():
        os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


@pytest.fixture(params=["folder", "memory", "s3"])
def storage(request, tmp_path):
    place = f"place-{next(_numbers)}"
    if request.param == "folder":
        return open_storage(tmp_path / place)
    if request.param == "memory":
        return open_storage(f"memory://{place}")
    return open_storage(f"s3://bucket/{place}", **request.getfixturevalue("s3"))


def read(storage, key, **span):
    return b"".join(storage.get(key, **span))


def test_file_that_was_put_is_read_back(storage):
    assert storage.put("results/run-1/part-00000.parquet", [b"abc", b"", b"def"]) == 6
    assert read(storage, "results/run-1/part-00000.parquet") == b"abcdef"
    assert storage.sizes("results/run-1") == {"part-00000.parquet": 6}


def test_file_larger_than_a_block_is_read_back_whole_and_in_spans(storage):
    data = os.urandom(BLOCK_BYTES + 12_345)
    storage.put("a/b", [data[:7], data[7:]])
    assert read(storage, "a/b") == data
    for start, end in [(0, 1), (BLOCK_BYTES - 1, BLOCK_BYTES + 1), (5, None), (len(data), None), (3, 3), (10, 5)]:
        assert read(storage, "a/b", start=start, end=end) == data[start : end if end is None or end >= start else start]


def test_file_put_again_is_the_later_one(storage):
    storage.put("a/b", [b"first"])
    storage.put("a/b", [b"2nd"])
    assert read(storage, "a/b") == b"2nd"


def test_file_whose_writing_breaks_off_is_not_there(storage):
    def broken():
        yield b"x" * 100
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        storage.put("a/b", broken())
    assert storage.sizes("a") == {}
    with pytest.raises(NotFoundError):
        read(storage, "a/b")


def test_file_whose_rewriting_breaks_off_is_what_it_was(storage):
    def broken():
        yield b"x"
        raise ValueError

    storage.put("a/b", [b"whole"])
    with pytest.raises((ValueError, ConfigurationError)):
        storage.put("a/b", broken())
    assert read(storage, "a/b") == b"whole"


def test_files_below_a_prefix_are_found_and_removed_and_no_others(storage):
    for key in ("a/b/c", "a/b/d/e", "a/bb", "f"):
        storage.put(key, [key.encode()])
    assert storage.sizes("a/b") == {"c": 5, "d/e": 7}
    storage.remove("a/b")
    assert storage.sizes("a") == {"bb": 4}
    storage.remove("a/b")
    storage.remove("f")
    with pytest.raises(NotFoundError):
        read(storage, "f")


def test_files_are_given_as_a_local_folder(storage):
    storage.put("d/one.parquet", [b"1"])
    storage.put("d/two.parquet", [b"22"])
    with storage.local("d") as folder:
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"one.parquet": b"1", "two.parquet": b"22"}
    with pytest.raises(NotFoundError), storage.local("nothing"):
        pass


@pytest.mark.parametrize("key", ["", "/a", "a/", "../a", "a/../b", "a//b", "a/.b", ".a", "a b", "a/b\n", "a\\b", "x" * 129, "é"])
def test_key_that_could_lead_elsewhere_is_refused(storage, key):
    for use in (
        lambda: storage.put(key, [b""]),
        lambda: read(storage, key),
        lambda: storage.sizes(key),
        lambda: storage.remove(key),
    ):
        with pytest.raises(InvalidInputError):
            use()


KEYS = st.lists(st.sampled_from(["a", "b", "a.b", "part-00000.parquet"]), min_size=1, max_size=3).map("/".join)
STEPS = st.lists(
    st.one_of(st.tuples(st.just("put"), KEYS, st.binary(max_size=20)), st.tuples(st.just("remove"), KEYS)), max_size=12
)


@given(steps=STEPS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_folder_follows_the_model_of_a_map(tmp_path, steps):
    root = tmp_path / f"model-{next(_numbers)}"
    storage, model = open_storage(root), {}
    for step in steps:
        if step[0] == "put":
            _, key, data = step
            inside = any(known.startswith(f"{key}/") or key.startswith(f"{known}/") for known in model)
            if inside:
                continue
            storage.put(key, [data])
            model[key] = data
        else:
            storage.remove(step[1])
            model = {key: data for key, data in model.items() if key != step[1] and not key.startswith(f"{step[1]}/")}
    for key, data in model.items():
        assert read(storage, key) == data
    tops = {key.partition("/")[0] for key in model if "/" in key}
    for top in tops:
        assert storage.sizes(top) == {
            key.partition("/")[2]: len(data) for key, data in model.items() if key.startswith(f"{top}/")
        }
    shutil.rmtree(root, ignore_errors=True)


def test_storage_of_a_protocol_that_is_not_installed_is_refused():
    with pytest.raises(ConfigurationError, match="not installed"):
        open_storage("nosuchprotocol://x/y")


def test_storage_that_cannot_be_reached_says_so_without_its_address(s3):
    options = {**s3, "client_kwargs": {"endpoint_url": "http://127.0.0.1:9"}, "config_kwargs": {"retries": {"max_attempts": 0}}}
    with pytest.raises(ConfigurationError) as caught:
        open_storage("s3://secret-bucket/x", **options).put("a/b", [b"1"])
    assert "secret-bucket" not in str(caught.value) + caught.value.hint


def test_file_takes_the_place_of_a_folder_whose_files_are_gone(tmp_path):
    storage = FolderStorage(tmp_path / "storage")
    storage.put("b/c/a", [b"1"])
    storage.remove("b/c/a")
    storage.put("b", [b"2"])
    assert b"".join(storage.get("b")) == b"2"
