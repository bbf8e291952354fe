"""Building from the same inputs again gives the same bytes, and a build that breaks leaves nothing behind."""

import os
import shutil

import pytest

from opaque_jobs.enclave.runtime import build, ensure_runtime, find_runtime, verify_tree
from opaque_jobs.errors import TrustError
from opaque_jobs.settings import Settings


@pytest.fixture
def plain_settings(tmp_path, runtime_settings, enclave_runtime) -> Settings:
    """Another home that has the packages already, as hard links: what is built there is our own layer."""
    settings = Settings(home=tmp_path / "home", database_url="sqlite://", sandbox="bubblewrap", engine_cache=False)
    base = f"base-{build._base_key()}"
    settings.runtime_dir.mkdir(parents=True)
    try:
        shutil.copytree(runtime_settings.runtime_dir / base, settings.runtime_dir / base, symlinks=True, copy_function=os.link)
    except OSError:
        pytest.skip("the test folder and the runtime are on two disks")
    return settings


def test_runtime_built_twice_has_one_measurement(plain_settings):
    first = ensure_runtime(plain_settings, lambda _step: None)
    shutil.rmtree(first.root.parent)
    assert find_runtime(plain_settings) is None
    assert ensure_runtime(plain_settings, lambda _step: None).measurement == first.measurement


def test_runtime_with_a_changed_agent_is_refused_and_so_is_one_with_an_added_jar(plain_settings):
    runtime = ensure_runtime(plain_settings, lambda _step: None)
    agent = runtime.root / "opt" / "agent" / "opaque_jobs" / "errors.py"
    text = agent.read_bytes()
    agent.chmod(0o644)
    agent.write_bytes(text + b"#")
    agent.chmod(0o444)
    with pytest.raises(TrustError):
        find_runtime(plain_settings)
    with pytest.raises(TrustError):
        verify_tree(runtime.root.parent)
    agent.chmod(0o644)
    agent.write_bytes(text)
    agent.chmod(0o444)
    assert find_runtime(plain_settings) == runtime
    (runtime.root / "opt" / "jars" / "more.jar").touch()
    with pytest.raises(TrustError):
        find_runtime(plain_settings)


def test_runtime_build_that_breaks_leaves_nothing_half_made(plain_settings):
    class PulledPlugError(Exception):
        """Stands for anything that stops a build."""

    def progress(step: str) -> None:
        if step.startswith("Measuring"):
            raise PulledPlugError

    with pytest.raises(PulledPlugError):
        ensure_runtime(plain_settings, progress)
    assert find_runtime(plain_settings) is None
    assert sorted(path.name for path in plain_settings.runtime_dir.iterdir()) == [".lock", f"base-{build._base_key()}"]


def test_runtime_build_clears_what_a_killed_build_left(plain_settings):
    leftover = plain_settings.runtime_dir / ".0123456789abcdef.abc"
    leftover.mkdir()
    ensure_runtime(plain_settings, lambda _step: None)
    assert not leftover.exists()
