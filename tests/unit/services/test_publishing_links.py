"""Making a result visible touches nothing but the result."""

import os

import pytest

from opaque_jobs.storage.publishing import publish, scratch_folder


@pytest.mark.parametrize(
    "lay", [lambda path, target: path.symlink_to(target), lambda path, _: os.mkfifo(path)], ids=["link", "pipe"]
)
def test_publishing_a_folder_with_something_that_is_no_plain_file_is_refused_and_touches_nothing(tmp_path, lay):
    target, final = tmp_path / "elsewhere", tmp_path / "results" / "run-1"
    target.write_text("somebody's")
    target.chmod(0o644)

    with scratch_folder(final) as folder:
        lay(folder / "receipt.json", target)
        with pytest.raises(OSError, match=r"symbolic links|Invalid argument"):
            publish(folder, final, record=lambda rename: rename())

    assert target.stat().st_mode & 0o777 == 0o644
    assert not final.exists()
