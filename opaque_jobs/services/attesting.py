"""Which hardware vouches for the enclaves of this installation: one setting, `OPAQUE_JOBS_ATTESTER`.

Files of the folder `attestation/collateral` in the home (certificates, revocation lists, Intel's documents) go with every piece
of hardware evidence, because the enclave has no network and brokers ask nobody. Whoever runs the machine keeps them fresh.
"""

from collections.abc import Callable, Mapping
from typing import Final

from opaque_jobs.attestation.coco import CocoAttester
from opaque_jobs.attestation.evidence import Attester
from opaque_jobs.attestation.simulated import SimulatedAttester
from opaque_jobs.attestation.tsm import TsmAttester
from opaque_jobs.crypto.service_keys import load_service_key
from opaque_jobs.errors import ConfigurationError, NotFoundError
from opaque_jobs.settings import AttesterName, Settings

__all__ = ["find_attester"]

_MAX_BYTES: Final = 1 << 20


def find_attester(settings: Settings) -> Attester:
    """Give the attester that the installation is set to.

    Raises:
        ConfigurationError: The hardware or the simulator's key is not there.
    """
    return _ATTESTERS[settings.attester](settings)


def _simulated(settings: Settings) -> Attester:
    try:
        return SimulatedAttester(load_service_key(settings.simulated_key_path))
    except NotFoundError as error:
        raise ConfigurationError(error.message, hint=error.hint) from None


_ATTESTERS: Final[Mapping[AttesterName, Callable[[Settings], Attester]]] = {
    AttesterName.SIMULATED: _simulated,
    AttesterName.TSM: lambda settings: TsmAttester.find(collateral=_collateral(settings)),
    AttesterName.COCO: lambda settings: CocoAttester.find(collateral=_collateral(settings)),
}


def _collateral(settings: Settings) -> list[bytes]:
    folder = settings.collateral_dir
    try:
        files = sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []
        if any(path.stat().st_size > _MAX_BYTES for path in files):
            raise ConfigurationError("a file of the collateral folder is too long", hint=f"see {folder}", limit_bytes=_MAX_BYTES)
        return [path.read_bytes() for path in files]
    except OSError as error:
        raise ConfigurationError(f"the collateral folder cannot be read: {error.strerror}", hint=f"see {folder}") from None
