"""Shares that are mixed, changed, foreign or wrongly opened: refused, and never a wrong key."""

import base64
import json

import pytest

from opaque_jobs.crypto import shares as module
from opaque_jobs.crypto.key_stores import key_store
from opaque_jobs.crypto.keys import BrokerKeys, SealingKey, SigningKey
from opaque_jobs.crypto.shares import OrganisationKeys, Share, make_shares, parse_share, recover
from opaque_jobs.domain.canonical import canonical_bytes, digest
from opaque_jobs.errors import InvalidInputError, TrustError

WORDS = ["first officer", "second officer", "third officer"]


def make_keys(**over):
    given = {
        "organisation_id": "org-1",
        "name": "Hospital",
        "sealing": SealingKey.generate(),
        "broker": BrokerKeys(sealing=SealingKey.generate(), signing=SigningKey.generate()),
    }
    return OrganisationKeys(**(given | over))


KEYS = make_keys()


@pytest.fixture(scope="module")
def made():
    return make_shares(KEYS, threshold=2, passphrases=WORDS)


def changed(share, **fields):
    """Change fields of a share, with a new checksum; its passphrase is not known to whoever does it."""
    document = {**share.document, **fields}
    document.pop("check")
    return parse_share(canonical_bytes({**document, "check": digest(canonical_bytes(document))}))


def rewritten(share, word, **fields):
    """Change fields of a share as its own officer could: under the passphrase."""
    header = {name: value for name, value in share.document.items() if name not in {"held", "check"}}
    value = key_store("file").reveal(word, share.document["held"], bound_to=canonical_bytes(header))
    value = fields.pop("value", value)
    return module._share({**header, **fields}, value, word)


def test_shares_hold_no_key_and_no_passphrase(made):
    text = b"".join(share.to_bytes() for share in made)
    secrets = [KEYS.sealing.seed, KEYS.broker.sealing.seed, KEYS.broker.signing.seed, *(word.encode() for word in WORDS)]
    for secret in secrets:
        assert secret not in text
        assert base64.b64encode(secret) not in text
        assert secret.hex().encode() not in text
    assert "Hospital" not in repr(made[0])


def test_two_sets_of_one_organisation_do_not_mix(made):
    other = make_shares(KEYS, threshold=2, passphrases=WORDS)
    with pytest.raises(InvalidInputError, match="one set"):
        recover([(made[0], WORDS[0]), (other[1], WORDS[1])])


def test_share_there_twice_is_refused(made):
    with pytest.raises(InvalidInputError, match="twice"):
        recover([(made[0], WORDS[0]), (made[0], WORDS[0])])


def test_wrong_passphrase_names_the_share_and_not_the_passphrase(made):
    with pytest.raises(TrustError, match="share 2") as caught:
        recover([(made[0], WORDS[0]), (made[1], WORDS[2])])
    assert WORDS[2] not in f"{caught.value.message}{caught.value.hint}{caught.value.facts}"


def test_every_flipped_byte_of_a_share_is_refused(made):
    whole = made[0].to_bytes()
    for position in range(len(whole)):
        with pytest.raises(InvalidInputError):
            parse_share(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])


@pytest.mark.parametrize(
    "fields",
    [
        {"organisation_id": "org-2"},
        {"name": "Other"},
        {"key_ids": []},
        {"set_id": "00" * 16},
        {"threshold": 1},
        {"threshold": 3},
        {"shares": 4},
        {"number": 3},
    ],
)
def test_share_that_says_something_else_does_not_open(made, fields):
    """All shares are changed alike, so that they still look like one set."""
    with pytest.raises((TrustError, InvalidInputError)):
        recover([(changed(made[0], **fields), WORDS[0]), (changed(made[1], **{**fields, **_other_number(fields)}), WORDS[1])])


def _other_number(fields):
    return {"number": 2} if "number" in fields else {}


@pytest.mark.parametrize("fields", [{"threshold": 1}, {"organisation_id": "org-2"}])
def test_officers_who_change_what_their_shares_say_get_no_key(made, fields):
    """They know their passphrases; the package is bound to what the set was made for."""
    with pytest.raises(TrustError, match="do not fit"):
        recover([(rewritten(made[number], WORDS[number], **fields), WORDS[number]) for number in (0, 1)])


def test_officer_who_lowers_the_threshold_alone_gets_no_key(made):
    with pytest.raises((TrustError, InvalidInputError)):
        recover([(rewritten(made[0], WORDS[0], threshold=1), WORDS[0])])


def test_officer_who_brings_another_value_spoils_it_and_gets_no_key(made):
    with pytest.raises(TrustError, match="do not fit"):
        recover([(rewritten(made[0], WORDS[0], value=bytes(32)), WORDS[0]), (made[1], WORDS[1])])
    with pytest.raises(TrustError, match="another length"):
        recover([(rewritten(made[0], WORDS[0], value=b"short"), WORDS[0]), (made[1], WORDS[1])])


@pytest.mark.parametrize(("threshold", "count"), [(1, 3), (0, 3), (4, 3), (2, 1), (2, 33)])
def test_numbers_that_are_not_possible_are_refused(threshold, count):
    with pytest.raises(InvalidInputError):
        make_shares(KEYS, threshold=threshold, passphrases=[f"officer number {each}" for each in range(count)])


@pytest.mark.parametrize("words", [["same passphrase", "same passphrase"], ["short", "long enough"]])
def test_passphrases_that_are_the_same_or_too_short_are_refused(words):
    with pytest.raises(InvalidInputError):
        make_shares(KEYS, threshold=2, passphrases=words)


@pytest.mark.parametrize(
    "fields",
    [
        {"v": 2},
        {"kind": "x"},
        {"threshold": "2"},
        {"number": 0},
        {"number": 4},
        {"held": "x"},
        {"name": "../up"},
        {"more": 1},
    ],
)
def test_file_that_is_no_share_is_refused(made, fields):
    document = json.loads(made[0].to_bytes()) | fields
    document.pop("check")
    with pytest.raises(InvalidInputError):
        parse_share(canonical_bytes({**document, "check": digest(canonical_bytes(document))}))


def test_parsed_share_is_the_share(made):
    assert parse_share(made[0].to_bytes()) == Share(document=made[0].document)
