"""Documents: their bytes and back, and nothing else than exactly them."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opaque_jobs.domain.canonical import canonical_bytes, digest, parse_canonical, parse_json
from opaque_jobs.domain.document import from_bytes, from_json, to_bytes, to_json
from opaque_jobs.domain.inputs import Constraint, ConstraintKind, InputType, InputVariable
from opaque_jobs.domain.output_policy import OutputPolicy
from opaque_jobs.domain.rerun_terms import RerunTerms
from opaque_jobs.errors import InvalidInputError

SCALARS = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=20)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4), max_leaves=12
)
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True)
DEFAULTED = st.tuples(st.none(), st.just(False)) | st.tuples(st.integers(5, 9), st.booleans())
VARIABLES = st.builds(
    lambda default, **fields: InputVariable(default=default[0], sensitive=default[1], **fields),
    name=NAMES,
    type=st.just(InputType.INTEGER),
    description=st.text(max_size=150),
    default=DEFAULTED,
    constraints=st.just(()) | st.just(((Constraint(kind=ConstraintKind.ONE_OF, value=(5, 6, 7, 8, 9)),),)),
)
POLICIES = st.builds(
    OutputPolicy,
    max_rows=st.integers(1, 2**50),
    max_columns=st.integers(1, 2**20),
    max_bytes=st.integers(1, 2**50),
    preview_rows=st.integers(0, 1000),
)
TERMS = st.builds(
    RerunTerms,
    max_runs=st.integers(1, 50),
    not_before=st.none(),
    not_after=st.just("2027-01-01T00:00:00+00:00"),
    min_interval_s=st.integers(0, 10**6),
    schedule=st.none(),
    variable_inputs=st.lists(NAMES, max_size=3).map(tuple),
)
DOCUMENTS = VARIABLES | POLICIES | TERMS


@given(VALUES)
def test_canonical_bytes_parse_back_to_the_same_value_and_bytes(value):
    data = canonical_bytes(value)
    again = parse_json(data, what="value")
    assert again == value
    assert canonical_bytes(again) == data


@given(st.dictionaries(st.text(max_size=8), SCALARS, max_size=5))
def test_canonical_bytes_do_not_depend_on_the_order_of_keys(document):
    turned = dict(reversed(document.items()))
    assert digest(canonical_bytes(turned)) == digest(canonical_bytes(document))


@given(st.dictionaries(st.text(max_size=8), SCALARS, min_size=2, max_size=5))
def test_bytes_that_are_json_but_not_canonical_are_refused(document):
    with pytest.raises(InvalidInputError):
        parse_canonical(json.dumps(document, indent=1).encode(), fields=list(document), what="document")


@given(st.binary(max_size=60))
def test_arbitrary_bytes_parse_or_are_refused_with_our_error(data):
    with suppress(InvalidInputError):
        parse_json(data, what="bytes")


@given(DOCUMENTS)
def test_document_survives_its_bytes(document):
    assert from_bytes(type(document), to_bytes(document), what="document") == document


@given(DOCUMENTS, st.text(min_size=1, max_size=8))
def test_document_with_an_unknown_field_is_refused(document, name):
    body = to_json(document)
    with pytest.raises(InvalidInputError):
        from_json(type(document), {**body, f"x{name}": 1}, what="document")


@given(DOCUMENTS, st.data())
def test_document_with_a_missing_field_is_refused(document, data):
    body = to_json(document)
    del body[data.draw(st.sampled_from(sorted(body)))]
    with pytest.raises(InvalidInputError):
        from_json(type(document), body, what="document")


@given(DOCUMENTS, st.data())
def test_document_with_a_field_of_another_type_is_refused(document, data):
    body = to_json(document)
    body[data.draw(st.sampled_from(sorted(body)))] = {"an": "object"}
    with pytest.raises(InvalidInputError):
        from_json(type(document), body, what="document")


@pytest.mark.parametrize("text", ['{"a":1,"a":2}', '{"a":NaN}', '{"a":9007199254740992}', '{"a":1', "\ufeff{}", "[" * 100_000])
def test_ambiguous_json_is_refused(text):
    with pytest.raises(InvalidInputError):
        parse_json(text.encode(), what="text")


@pytest.mark.parametrize("text", ['{"a":"\\ud800"}', '{"\\udfff":1}', '[["\\uDC00\\ud800"]]', '"\\ud83d \\ude00"'])
def test_half_a_character_is_refused_because_no_bytes_can_hold_it(text):
    with pytest.raises(InvalidInputError):
        parse_json(text.encode(), what="text")


def test_character_written_as_two_escapes_and_an_escape_that_is_text_are_read():
    assert parse_json(b'{"a":"\\ud83d\\ude00","b":"\\\\ud800"}', what="text") == {"a": "\U0001f600", "b": "\\ud800"}


@pytest.mark.parametrize("value", ["\ud800", {"\ud800": 1}, {"a": float("nan")}, {"a": 2**53}, {"a": b""}])
def test_value_that_has_no_canonical_form_is_refused(value):
    with pytest.raises(InvalidInputError):
        canonical_bytes(value)
