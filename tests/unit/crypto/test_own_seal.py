"""What an owner seals to themself: only they make it, only they open it, for one purpose."""

import json

import pytest

from opaque_jobs.crypto.keys import SealingKey
from opaque_jobs.crypto.own_seal import open_own, own_sealed_by, seal_own
from opaque_jobs.domain.canonical import canonical_bytes
from opaque_jobs.errors import OpaqueJobsError, TrustError

KEY, INFO, PLAIN = SealingKey.generate(), {"run_id": "run-1", "content": "log"}, b"forty rows"


def test_own_seal_opens_for_its_maker_and_says_whose_it_is():
    sealed = seal_own(PLAIN, KEY, INFO)
    assert open_own(sealed, KEY, INFO) == PLAIN
    assert own_sealed_by(sealed) == KEY.public.key_id


def test_own_seal_is_another_each_time_and_shows_nothing():
    first, second = seal_own(PLAIN, KEY, INFO), seal_own(PLAIN, KEY, INFO)
    assert first["ciphertext"] != second["ciphertext"]
    assert PLAIN not in canonical_bytes(first)


@pytest.mark.parametrize("info", [{}, INFO | {"run_id": "run-2"}, INFO | {"more": "x"}])
def test_own_seal_of_another_purpose_is_refused(info):
    with pytest.raises(TrustError):
        open_own(seal_own(PLAIN, KEY, INFO), KEY, info)


def test_own_seal_of_another_key_is_refused_also_when_it_claims_ours():
    other = seal_own(PLAIN, SealingKey.generate(), INFO)
    for claimed in (other, other | {"owner": KEY.public.key_id}):
        with pytest.raises(TrustError):
            open_own(claimed, KEY, INFO)


def test_every_flipped_byte_of_an_own_seal_is_refused():
    whole = canonical_bytes(seal_own(PLAIN, KEY, INFO))
    for position in range(len(whole)):
        flipped = whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :]
        try:
            document = json.loads(flipped)
        except ValueError:
            continue
        with pytest.raises(OpaqueJobsError):
            open_own(document, KEY, INFO)
