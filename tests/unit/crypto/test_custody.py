"""Deposits, sharing statements and released keys that are well signed or sealed, and still not what they should be."""

import functools
import json

import pytest

from opaque_jobs.crypto.custody import (
    KeyRelease,
    open_deposit,
    open_release,
    release_info,
    seal_release,
    verify_deposit,
    verify_sharing,
)
from opaque_jobs.crypto.keys import SealingKey
from opaque_jobs.crypto.parquet import released_keys
from opaque_jobs.crypto.sealing import open_sealed, seal
from opaque_jobs.domain.canonical import canonical_bytes
from opaque_jobs.errors import InvalidInputError, TrustError
from tests.world import SALT, World, salted

KEY = SealingKey(b"\x06" * 32)
WORLD = World()
HOME = WORLD.hospital
PINNED = {member.key.public.key_id: member.key.public for member in HOME.members}
INFO = release_info(
    workspace_id="ws-1",
    dataset_id=HOME.dataset_id,
    version=1,
    job_digest="sha256:j",
    run_id="run-1",
    organisation_id=HOME.id,
)
RELEASE = KeyRelease(keys=released_keys(HOME.root, ["id"]), salted=salted(HOME.policy()))


def test_deposit_opens_with_what_its_owner_put_in():
    deposit = verify_deposit(WORLD.deposit(HOME), PINNED, organisation_id=HOME.id)
    assert open_deposit(deposit, HOME.broker.sealing) == (HOME.root, salted(HOME.policy()))


def test_deposit_and_sharing_for_another_organisation_are_refused():
    with pytest.raises(TrustError, match="another organisation"):
        verify_deposit(WORLD.deposit(HOME), PINNED, organisation_id="org-other")
    with pytest.raises(TrustError, match="another organisation"):
        verify_sharing(WORLD.sharing(HOME), PINNED, organisation_id="org-other")


TEST = {"column": "site", "type": "int64", "operator": "=", "values": ["7"]}
DEEP = functools.reduce(lambda inner, _: {"joint": "not", "rules": [inner]}, range(50), TEST)


def test_released_keys_open_with_their_policy():
    assert open_release(seal_release(RELEASE, KEY.public, INFO), KEY, INFO) == RELEASE


def resealed(change: dict) -> bytes:
    """Seal something else under the right context, as an unsound broker could."""
    document = json.loads(open_sealed(seal_release(RELEASE, KEY.public, INFO), KEY, INFO)) | change
    return seal(canonical_bytes(document), KEY.public, INFO)


def test_released_keys_of_another_dataset_version_are_refused():
    with pytest.raises(TrustError, match="another dataset version"):
        open_release(resealed({"keys": RELEASE.keys.to_document() | {"version": 2}}), KEY, INFO)


def policy_with(**change) -> dict:
    return {"policy": {"columns": ["id"], "row_rule": None} | change, "salt": SALT}


@pytest.mark.parametrize(
    "change",
    [
        {"policy": None},
        {"policy": {}},
        {"policy": policy_with(row_rule={})},
        {"policy": policy_with(row_rule=[])},
        {"policy": policy_with(row_rule=TEST | {"values": [7]})},
        {"policy": policy_with(row_rule=TEST | {"values": ["007"]})},
        {"policy": policy_with(row_rule=TEST | {"operator": "like"})},
        {"policy": policy_with(row_rule=TEST | {"more": None})},
        {"policy": policy_with(row_rule={"joint": "and", "rules": [TEST]})},
        {"policy": policy_with(row_rule={"joint": "not", "rules": [TEST, TEST]})},
        {"policy": policy_with(row_rule={"joint": "and", "rules": [TEST] * 201})},
        {"policy": policy_with(row_rule=DEEP)},
        {"policy": policy_with() | {"salt": SALT[2:]}},
        {"keys": None},
        {"more": 1},
    ],
)
def test_released_keys_of_another_form_are_refused(change):
    with pytest.raises(InvalidInputError):
        open_release(resealed(change), KEY, INFO)
