"""A PKCS#11 token for tests: SoftHSM, one for each process."""

import atexit
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

MODULE = next(
    (path for path in ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so") if Path(path).exists()), ""
)
# Of this process alone: tests that look for a PIN in command lines must not find that of tests beside them.
PIN, OTHER_PIN = f"8675309-{secrets.token_hex(8)}", "1122334455"
LABEL = "officer"
WHY_NOT = "" if MODULE and shutil.which("softhsm2-util") else "SoftHSM is not here: apt-get install softhsm2"


@cache
def _configuration() -> Path:
    """Make this process's token; return SoftHSM's configuration, which a process reads once, when it first loads the module."""
    folder = Path(tempfile.mkdtemp(prefix="soft-token-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    tokens, configuration = folder / "tokens", folder / "softhsm2.conf"
    tokens.mkdir(mode=0o700)
    configuration.write_text(f"directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n")
    subprocess.run(
        ["softhsm2-util", "--init-token", "--free", "--label", LABEL, "--so-pin", "99887766", "--pin", PIN],
        check=True,
        capture_output=True,
        env=os.environ | {"SOFTHSM2_CONF": str(configuration)},
    )
    return configuration


@contextmanager
def soft_token() -> Iterator[dict[str, str]]:
    """Give the settings of the key store that name this process's token, which the processes that it starts find too."""
    before = os.environ.get("SOFTHSM2_CONF")
    os.environ["SOFTHSM2_CONF"] = str(_configuration())
    try:
        yield {"module": MODULE, "token": LABEL}
    finally:
        os.environ.pop("SOFTHSM2_CONF")
        if before is not None:
            os.environ["SOFTHSM2_CONF"] = before
