"""Real evidence of others' test suites: looked for beside the project or in OPAQUE_JOBS_VECTORS, never part of it."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from opaque_jobs.attestation.collateral import Pieces, parse_pieces

FOLDER = Path(os.environ.get("OPAQUE_JOBS_VECTORS") or Path(__file__).resolve().parents[3] / "shared" / "vectors")
needs_vectors = pytest.mark.skipif(
    not (FOLDER / "MANIFEST.json").is_file(),
    reason=f"no test vectors in {FOLDER}: set OPAQUE_JOBS_VECTORS to the folder that has them",
)
SNP_AT = datetime(2025, 6, 1, tzinfo=UTC)
TDX_AT = datetime(2025, 6, 25, tzinfo=UTC)
NITRO_AT = datetime(2022, 10, 13, 10, tzinfo=UTC)
NITRO_DEBUG_AT = datetime(2022, 10, 12, 14, tzinfo=UTC)
MILAN = ("snp/amd-ask-milan.pem", "snp/amd-ark-milan.pem")
VCEK = ("snp/trustee-test-vcek.der", *MILAN)
VLEK = ("snp/trustee-test-vlek.der", "snp/go-sev-guest-milanvlek.testcer")
PHALA = ("tdx/phala-tdx_quote_collateral.json",)
GOOGLE = tuple(
    f"tdx/go-tdx-guest-{name}" for name in ("pckcrl", "rootcrl.der", "sample_qeIdentity_response", "sample_tcbInfo_response")
)


def read(name: str) -> bytes:
    return (FOLDER / name).read_bytes()


def pieces(*names: str) -> Pieces:
    return parse_pieces([read(name) for name in names])
