"""The key tree of encrypted Parquet, with fixed values that the Java side can check itself against."""

import base64

import pytest

from opaque_jobs.crypto.parquet import (
    MasterKeyId,
    ReleasedKeys,
    RootKey,
    parse_master_key_id,
    part_name,
    released_keys,
    result_aad_prefix,
    result_file_key,
    unwrap_data_key,
    wrap_data_key,
)
from opaque_jobs.domain.canonical import canonical_bytes
from opaque_jobs.errors import InvalidInputError, TrustError

ROOT = RootKey(dataset_id="ds-1", version=3, secret=bytes(range(32)))
KEYS = released_keys(ROOT, ["a", "größe"])
PART = "part-00000.parquet"
DATA_KEY = b"\x09" * 32


def make_id(**over) -> MasterKeyId:
    return MasterKeyId(**({"dataset_id": "ds-1", "version": 3, "part": PART, "column": "a"} | over))


def test_key_tree_of_a_fixed_root_stays_the_same():
    assert KEYS.footer_key.hex() == "b3668b98e91d9307fbd6a720fb4b092fca872eb968e626b7e9d985b237afae5a"
    assert KEYS.column_keys["größe"].hex() == "3a61df4b64c8305e1c2689a203460e4be49139169a7fa926b6fa4bd6b8d07b09"
    assert (
        result_file_key(bytes(range(32)), run_id="run-1").hex()
        == "e1ee0193f7614d5b985e344b88abe766b1f1194c7038380047c7a0d626a5f344"
    )
    assert result_aad_prefix(run_id="run-1") == b"run-1|result"
    assert str(make_id(column=None)) == "eyJjIjpudWxsLCJkIjoiZHMtMSIsInAiOiJwYXJ0LTAwMDAwLnBhcnF1ZXQiLCJ2IjozfQ"


def test_fixed_wrapped_key_opens():
    wrapped = "l5ChsxmPy7dd1YNZXPl+7t431gxrUpIAAlHI1sM4ogsgSKhembmCvWkrULTDz8YOjnhsOOmI0Rr+Dcee"
    assert unwrap_data_key(KEYS, str(make_id()), wrapped, part=PART) == DATA_KEY


@pytest.mark.parametrize("column", ["a", None, "größe"])
def test_wrapped_key_opens_for_its_part_and_column(column):
    key_id = make_id(column=column)
    assert unwrap_data_key(KEYS, str(key_id), wrap_data_key(KEYS, key_id, DATA_KEY), part=PART) == DATA_KEY


def test_every_scope_has_another_key():
    roots = [
        ROOT,
        RootKey(dataset_id="ds-1", version=4, secret=ROOT.secret),
        RootKey(dataset_id="ds-2", version=3, secret=ROOT.secret),
    ]
    keys = [
        key
        for root in roots
        for key in (released_keys(root, ["a", "b"]).column_keys | {"": released_keys(root, []).footer_key}).values()
    ]
    assert len(set(keys)) == 9


@pytest.mark.parametrize(
    "over", [{"dataset_id": "ds-2"}, {"version": 2}, {"part": "part-00001.parquet"}, {"column": "b"}, {"column": None}]
)
def test_wrapped_key_under_another_id_is_refused(over):
    wrapped = wrap_data_key(KEYS, make_id(), DATA_KEY)
    with pytest.raises(TrustError):
        unwrap_data_key(KEYS, str(make_id(**over)), wrapped, part=PART)


def test_wrapped_key_of_another_part_is_refused_by_path():
    key_id = make_id(part="part-00001.parquet")
    with pytest.raises(TrustError, match="not the part"):
        unwrap_data_key(KEYS, str(key_id), wrap_data_key(KEYS, key_id, DATA_KEY), part=PART)


def test_every_flipped_byte_of_a_wrapped_key_is_refused():
    wrapped = base64.b64decode(wrap_data_key(KEYS, make_id(), DATA_KEY))
    for position in range(len(wrapped)):
        changed = wrapped[:position] + bytes([wrapped[position] ^ 1]) + wrapped[position + 1 :]
        with pytest.raises(TrustError):
            unwrap_data_key(KEYS, str(make_id()), base64.b64encode(changed).decode(), part=PART)


def id_text(**over) -> str:
    document = {"c": "a", "d": "ds-1", "p": PART, "v": 3} | over
    return base64.urlsafe_b64encode(canonical_bytes(document)).decode().rstrip("=")


@pytest.mark.parametrize(
    "text",
    [
        "", "%%%", "bnVsbA", str(make_id()) + "=", " " + str(make_id()),
        id_text(c=1), id_text(d="a|b"), id_text(d=1), id_text(p="../x"), id_text(p=PART + "\n"), id_text(v=0), id_text(v="3"),
        id_text(v=True), id_text(x=1),
    ],
)  # fmt: skip
def test_key_id_of_another_form_is_refused(text):
    with pytest.raises(InvalidInputError):
        parse_master_key_id(text)


def test_released_keys_survive_their_json_form_and_do_not_show_themselves():
    assert ReleasedKeys.parse_document(KEYS.to_document()) == KEYS
    assert KEYS.footer_key.hex()[:8] not in repr(KEYS)
    assert "secret" not in repr(ROOT)


@pytest.mark.parametrize(
    "change",
    [
        {"footer_key": "AA=="}, {"footer_key": 1}, {"footer_key": "?"}, {"column_keys": []}, {"column_keys": {"a": "AA=="}},
        {"extra": 1}, {"version": 0}, {"dataset_id": "a b"},
    ],
)  # fmt: skip
def test_released_keys_of_another_form_are_refused(change):
    with pytest.raises(InvalidInputError):
        ReleasedKeys.parse_document(KEYS.to_document() | change)


@pytest.mark.parametrize("index", [-1, 100_000])
def test_part_beyond_the_range_is_refused(index):
    with pytest.raises(InvalidInputError):
        part_name(index)


@pytest.mark.parametrize(
    "over", [{"secret": b""}, {"secret": bytes(31)}, {"version": 0}, {"version": True}, {"dataset_id": "a|b"}, {"dataset_id": ""}]
)
def test_root_key_of_another_form_is_refused(over):
    with pytest.raises(InvalidInputError):
        RootKey(**({"dataset_id": "ds-1", "version": 1, "secret": bytes(32)} | over))
