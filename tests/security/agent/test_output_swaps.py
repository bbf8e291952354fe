"""The host changes what leaves while it leaves: a receipt vouches for what the agent made, whatever lies in the folder."""

import base64
import json
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.parquet import encryption

from opaque_jobs.crypto.parquet import result_aad_prefix, result_file_key
from opaque_jobs.crypto.result_file import sealed_result
from opaque_jobs.domain.canonical import digest
from opaque_jobs.domain.job import Language
from opaque_jobs.domain.run import Receipt, parse_receipt
from opaque_jobs.protocol.result_files import KEY_FILE, PREVIEW_FILE, RESULT_FILE, Content, seal_info, sealed_file
from tests.support.sealed_run import RUN_ID

pytestmark = pytest.mark.spark

PEOPLE = pa.table({"id": pa.array(range(40), pa.int64())})
FORGED = pa.table({"n": pa.array([999_999], pa.int64())})


@dataclass
class Swapper:
    """Somebody with write access to the result storage, as quick as they can be."""

    out: Path
    forged: dict[str, bytes]
    work: Path

    def __post_init__(self) -> None:
        self.over = threading.Event()
        self.swaps = 0
        self.thread = threading.Thread(target=self.swap_for_ever, daemon=True)
        self.work.mkdir()

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()

    def swap_for_ever(self) -> None:
        while not self.over.is_set():
            self.swap()

    def swap(self) -> None:
        for name, content in self.forged.items():
            try:
                if (self.out / name).read_bytes() == content:
                    continue
                fresh = self.work / name
                fresh.write_bytes(content)
                fresh.chmod(0o644)
                fresh.replace(self.out / name)
                self.swaps += 1
            except OSError:
                continue


def forgery(runs, spec, folder: Path) -> dict[str, bytes]:
    """Another number under a key of the forger's own, sealed to the author's organisation, as anybody can."""
    key, hospital = os.urandom(32), runs.world.hospital.sealing.public
    properties = encryption.create_encryption_properties(
        footer_key=result_file_key(key, run_id=RUN_ID), aad_prefix=result_aad_prefix(run_id=RUN_ID), store_aad_prefix=False
    )
    path = folder / "forged.parquet"
    pq.write_table(FORGED, path, encryption_properties=properties)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, FORGED.schema) as writer:
        writer.write_table(FORGED)

    def sealed(content: Content, plaintext: bytes) -> bytes:
        info = seal_info(content, workspace_id=spec.workspace_id, job_digest=spec.digest, run_id=RUN_ID)
        return sealed_file(plaintext, [hospital], info)

    return {
        RESULT_FILE: b"".join(sealed_result([path], key, run_id=RUN_ID)),
        KEY_FILE: sealed(Content.RESULT_KEY, key),
        PREVIEW_FILE: sealed(Content.PREVIEW, sink.getvalue().to_pybytes()),
    }


def receipt_in(out: Path) -> Receipt:
    envelope = json.loads((out / "receipt.json").read_bytes())
    return parse_receipt(json.loads(base64.b64decode(envelope["payload"]))["predicate"])


@pytest.fixture(scope="module")
def staged(runs):
    runs.add(runs.world.hospital, "people", PEOPLE)
    return runs


def test_receipt_of_a_run_whose_files_the_host_swaps_meanwhile_vouches_for_none_of_them(staged, tmp_path):
    runs = staged
    spec = runs.spec("select count(*) n from people", Language.SQL)
    forged = forgery(runs, spec, tmp_path)
    out = runs.folder / f"out-{runs.counter + 1}"

    with Swapper(out, forged, tmp_path / "work") as swapper:
        done = runs.run_real(spec)
    swapper.swap()

    assert done.failure is None
    assert swapper.swaps
    assert runs.opened(done)["rows"] == [{"n": 999_999}]  # what an author would read who did not verify the receipt
    vouched = {file.name: file.sha256 for file in receipt_in(done.out).outputs}
    assert set(vouched) == {*forged, "log.sealed.json"}
    assert not set(vouched.values()) & set(map(digest, forged.values()))


def test_receipt_of_a_run_vouches_for_what_left(staged):
    done = staged.run_real(staged.spec("select max(id) + 1 as n from people", Language.SQL))

    assert staged.opened(done)["rows"] == [{"n": 40}]
    assert {file.name: file.sha256 for file in receipt_in(done.out).outputs} == {
        path.name: digest(path.read_bytes()) for path in done.out.iterdir() if path.name != "receipt.json"
    }
