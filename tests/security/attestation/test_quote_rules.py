"""Intel quotes: form, collateral, pinned root; what is signed inside is the library's to check, and flipping shows that it is."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opaque_jobs.attestation.collateral import parse_pieces
from opaque_jobs.attestation.dcap import verify_quote
from opaque_jobs.attestation.quote_layout import split_quote
from opaque_jobs.attestation.steps import Steps
from opaque_jobs.errors import InvalidInputError, OpaqueJobsError, TrustError
from tests.support.vectors import FOLDER, GOOGLE, PHALA, TDX_AT, needs_vectors, pieces, read

QUOTE, GOOGLE_QUOTE = "tdx/phala-tdx_quote", "tdx/go-tdx-guest-tdx_prod_quote_SPR_E4.dat"
pytestmark = needs_vectors


def verify(raw, beside=None, **over):
    return verify_quote(raw, beside or pieces(*PHALA), **({"now": TDX_AT, "steps": Steps()} | over))


def changed(raw, start, value):
    return raw[:start] + value + raw[start + len(value) :]


def test_bytes_flipped_in_a_real_quote_are_refused():
    """Every length and type, and a sample of the rest, since verifying one takes 7 ms; the long mode takes every byte."""
    raw = read(QUOTE)
    text = raw.index(b"-----BEGIN")
    forms = {*range(48), *range(632, 640), *range(764, 772), *range(text - 8, text), *range(len(raw) - 40, len(raw))}
    lines = {at for at in range(text, len(raw)) if raw[at] == 0x0A}
    flip(raw, sorted({*forms, *lines, *range(0, len(raw), 23)}))


@pytest.mark.long
def test_every_byte_flipped_in_a_real_quote_is_refused():
    raw = read(QUOTE)
    flip(raw, range(len(raw)))


def flip(raw, places):
    for place in places:
        with pytest.raises(OpaqueJobsError):
            verify(changed(raw, place, bytes((raw[place] ^ (1 << place % 8),))))


def test_quote_may_be_followed_by_zeros_only():
    split = split_quote(read(QUOTE))
    assert not any(split.rest)
    assert verify(split.quote) == verify(split.quote + bytes(3000))
    with pytest.raises(TrustError, match="5 bytes follow the quote"):
        verify(split.quote + b"extra")


def test_real_quote_with_other_bytes_after_it_is_split_from_them():
    split = split_quote(read(GOOGLE_QUOTE))
    assert (len(split.chain), split.rest) == (3, b"\nextra bytes(only for testing purpose)\n")


def test_quote_whose_root_is_not_pinned_is_refused():
    with pytest.raises(TrustError, match="not pinned"):
        verify(read(QUOTE), roots={})


@pytest.mark.parametrize(
    ("start", "value"),
    [
        (0, b"\x02\x00"), (0, b"\x06\x00"), (2, b"\x03\x00"), (4, b"\x82"), (12, b"\x00"), (632, b"\xff\xff\xff\x7f"),
        (764, b"\x05"), (766, b"\x00"),
    ],
)  # fmt: skip
def test_quote_with_another_version_type_or_length_is_refused(start, value):
    with pytest.raises(InvalidInputError):
        verify(changed(read(QUOTE), start, value))


@pytest.mark.parametrize("size", [0, 1, 47, 48, 400, 636, 700, 4000, 4934])
def test_quote_cut_short_is_refused(size):
    with pytest.raises(InvalidInputError):
        verify(read(QUOTE)[:size])


@given(st.binary(max_size=200), st.integers(min_value=0, max_value=4935))
def test_quote_overwritten_anywhere_never_gives_another_error(data, start):
    raw = read(QUOTE)
    try:
        verify(changed(raw, start, data))
    except OpaqueJobsError:
        return
    assert changed(raw, start, data) == raw


WHOLE = json.loads(read(PHALA[0])) if (FOLDER / PHALA[0]).is_file() else {}


@pytest.mark.parametrize("part", sorted(WHOLE))
def test_every_part_of_the_collateral_is_needed_and_its_change_is_refused(part):
    with pytest.raises(OpaqueJobsError):
        verify(read(QUOTE), parse_pieces([json.dumps(WHOLE | {part: ""}).encode()]))
    text = WHOLE[part]
    for place in range(40, len(text), 97):
        other = "0" if text[place] != "0" else "1"
        if text[place] in "\n-" or part.endswith("_chain"):
            continue
        with pytest.raises(OpaqueJobsError):
            verify(read(QUOTE), parse_pieces([json.dumps(WHOLE | {part: text[:place] + other + text[place + 1 :]}).encode()]))


def separate_answers():
    def answer(name, part):
        return f'{{"{name}":{WHOLE[part]},"signature":"{WHOLE[f"{part}_signature"]}"}}'.encode()

    return [
        answer("tcbInfo", "tcb_info"), answer("enclaveIdentity", "qe_identity"), WHOLE["tcb_info_issuer_chain"].encode(),
        WHOLE["root_ca_crl"].encode(), bytes.fromhex(WHOLE["pck_crl"]),
    ]  # fmt: skip


def test_collateral_as_intels_service_gives_it_holds_like_the_whole():
    assert verify(read(QUOTE), parse_pieces(separate_answers())) == verify(read(QUOTE))


def test_chain_as_intels_header_gives_it_is_read():
    answers = separate_answers()
    answers[2] = answers[2].replace(b"\n", b"%0A").replace(b" ", b"%20").replace(b"+", b"%2B").replace(b"=", b"%3D")
    assert verify(read(QUOTE), parse_pieces(answers)) == verify(read(QUOTE))


@pytest.mark.parametrize("missing", range(5))
def test_collateral_with_an_answer_missing_is_refused(missing):
    answers = separate_answers()
    del answers[missing]
    with pytest.raises(TrustError, match="lacks"):
        verify(read(QUOTE), parse_pieces(answers))


def test_collateral_with_a_document_twice_is_refused():
    with pytest.raises(InvalidInputError, match="twice"):
        parse_pieces([*separate_answers(), separate_answers()[0]])


def test_answer_that_was_written_anew_is_refused():
    document = json.loads(separate_answers()[0])
    with pytest.raises(OpaqueJobsError):
        verify(read(QUOTE), parse_pieces([json.dumps(document).encode(), *separate_answers()[1:]]))


def test_collateral_of_another_platform_is_refused():
    with pytest.raises(OpaqueJobsError):
        verify(read(QUOTE), replace(pieces(*GOOGLE), certificates=pieces(*PHALA).certificates))


@pytest.mark.parametrize(
    "item", [b"", b"  ", b"{}", b'{"tcbInfo": {}}', b'{"tcbInfo": {}, "signature": 1}', b"[]", b"\x30\x03\x02\x01", b"{" * 100]
)
def test_collateral_that_is_something_else_is_refused(item):
    with pytest.raises(InvalidInputError):
        parse_pieces([item])


@given(st.binary(max_size=200))
def test_any_collateral_gives_an_answer_or_an_input_error(item):
    try:
        parse_pieces([item, b"{" + item])
    except InvalidInputError:
        return
