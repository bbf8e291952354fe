"""A PKCS#11 token for tests: SoftHSM, in a folder of its own."""

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MODULE = next(
    (path for path in ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so") if Path(path).exists()), ""
)
# Of this process alone: tests that look for a PIN in command lines must not find that of tests beside them.
PIN, OTHER_PIN = f"8675309-{secrets.token_hex(8)}", "1122334455"
LABEL = "officer"
WHY_NOT = "" if MODULE and shutil.which("softhsm2-util") else "SoftHSM is not here: apt-get install softhsm2"


@contextmanager
def soft_token(folder: Path) -> Iterator[dict[str, str]]:
    """Make a token, and give the settings of the key store that name it.

    SoftHSM reads its configuration when it is first loaded into a process, so one folder serves a whole test session.
    """
    tokens = folder / "tokens"
    tokens.mkdir(mode=0o700, parents=True)
    configuration = folder / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n")
    before = os.environ.get("SOFTHSM2_CONF")
    os.environ["SOFTHSM2_CONF"] = str(configuration)
    try:
        subprocess.run(
            ["softhsm2-util", "--init-token", "--free", "--label", LABEL, "--so-pin", "99887766", "--pin", PIN],
            check=True,
            capture_output=True,
        )
        yield {"module": MODULE, "token": LABEL}
    finally:
        os.environ.pop("SOFTHSM2_CONF")
        if before is not None:
            os.environ["SOFTHSM2_CONF"] = before
