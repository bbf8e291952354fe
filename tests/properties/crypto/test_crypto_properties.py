"""What must hold for every name, text and key: round trips, and no two things that look alike."""

from hypothesis import given, settings
from hypothesis import strategies as st

from opaque_jobs.crypto.keys import SealingKey, SealingPublicKey, SigningKey, VerifyKey
from opaque_jobs.crypto.parquet import (
    MasterKeyId,
    ReleasedKeys,
    RootKey,
    logical_name,
    parse_master_key_id,
    physical_name,
    released_keys,
    unwrap_data_key,
    wrap_data_key,
)
from opaque_jobs.crypto.sealing import open_sealed, seal
from opaque_jobs.crypto.signing import sign_statement, verify_statement
from opaque_jobs.domain.canonical import digest, parse_json

KEY = SealingKey(b"\x01" * 32)
SIGNER = SigningKey(b"\x02" * 32)
seeds = st.binary(min_size=32, max_size=32)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
scalars = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | texts
documents = st.dictionaries(texts, st.recursive(scalars, lambda inner: st.lists(inner, max_size=3)), max_size=4)


@given(plaintext=st.binary(max_size=300), info=documents)
def test_seal_then_open_gives_the_same_bytes(plaintext, info):
    assert open_sealed(seal(plaintext, KEY.public, info), KEY, info) == plaintext


@given(predicate=documents, name=texts, subject=st.binary())
def test_sign_then_verify_gives_the_same_statement(predicate, name, subject):
    envelope = sign_statement(
        SIGNER, predicate_type="urn:x", subject_name=name, subject_digest=digest(subject), predicate=predicate
    )
    statement = verify_statement(envelope, SIGNER.public, predicate_type="urn:x")
    assert (statement.predicate, statement.subject_name, statement.subject_digest) == (predicate, name, digest(subject))
    assert isinstance(parse_json(envelope, what="envelope"), dict)


@given(seed=seeds)
def test_public_keys_survive_their_text_form(seed):
    assert VerifyKey.parse(SigningKey(seed).public.text) == SigningKey(seed).public


@settings(max_examples=20)
@given(seed=seeds)
def test_public_sealing_keys_survive_their_text_form(seed):
    assert SealingPublicKey.parse(SealingKey(seed).public.text) == SealingKey(seed).public


@given(name=names)
def test_physical_name_is_plain_and_reversible(name):
    physical = physical_name(name)
    assert logical_name(physical) == name
    assert physical.isascii()
    assert not set(physical) & set(" .,;:\t\n\r`{}()=")


@given(first=names, second=names)
def test_different_names_have_different_physical_names_and_keys(first, second):
    root = RootKey(dataset_id="ds-1", version=1, secret=bytes(32))
    keys = released_keys(root, [first, second]).column_keys
    assert (physical_name(first) == physical_name(second)) == (keys[first] == keys[second]) == (first == second)


@given(column=names | st.none(), version=st.integers(1, 2**40), part=st.integers(0, 99_999), secret=seeds, data_key=seeds)
def test_wrap_then_unwrap_gives_the_same_key(column, version, part, secret, data_key):
    root = RootKey(dataset_id="ds-1", version=version, secret=secret)
    keys = ReleasedKeys.parse_document(released_keys(root, [] if column is None else [column]).to_document())
    key_id = MasterKeyId(dataset_id="ds-1", version=version, part=f"part-{part:05d}.parquet", column=column)
    assert parse_master_key_id(str(key_id)) == key_id
    assert unwrap_data_key(keys, str(key_id), wrap_data_key(keys, key_id, data_key), part=key_id.part) == data_key
