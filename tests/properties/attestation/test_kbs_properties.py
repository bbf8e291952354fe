"""The protocol's messages survive the way through a relay, and nothing else parses as one."""

from hypothesis import given
from hypothesis import strategies as st

from opaque_jobs.attestation.binding import TeePublicKeys
from opaque_jobs.attestation.kbs import (
    AttestRequest,
    attest_answer,
    attest_body,
    auth_answer,
    auth_body,
    parse_attest,
    parse_attest_answer,
    parse_auth,
    parse_auth_answer,
    parse_reasons,
    problem_body,
)
from opaque_jobs.crypto.keys import SealingKey, SigningKey
from opaque_jobs.domain.job import TeeKind
from opaque_jobs.errors import InvalidInputError

KEYS = TeePublicKeys(sealing=SealingKey(b"\x01" * 32).public, signing=SigningKey(b"\x02" * 32).public)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
inputs = st.dictionaries(texts, st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | texts, max_size=4)
run_ids = st.from_regex(r"run-[a-z0-9]{1,20}", fullmatch=True)


@given(st.sampled_from(TeeKind))
def test_request_for_a_nonce_survives(kind):
    assert parse_auth(auth_body(kind).encode()) is kind


requests = st.builds(
    AttestRequest,
    nonce=texts,
    keys=st.just(KEYS),
    job_spec=st.binary(),
    bundle=st.binary(),
    run_id=run_ids,
    inputs=inputs,
    refreshed=st.dictionaries(texts, texts, max_size=3),
    evidence=st.binary(),
)


@given(shown=requests)
def test_attestation_request_survives(shown):
    assert parse_attest(attest_body(shown).encode()) == shown


@given(token=texts)
def test_answers_survive(token):
    assert parse_attest_answer(attest_answer(token)) == token
    assert parse_auth_answer(auth_answer("bm9uY2Utb2YtMTYtYnl0ZXM=")) == "bm9uY2Utb2YtMTYtYnl0ZXM="


@given(st.lists(st.from_regex(r"[a-z][a-z-]{0,20}", fullmatch=True), max_size=8))
def test_reasons_survive(reasons):
    assert parse_reasons(problem_body(status=403, title="x", reasons=reasons)) == tuple(reasons)


@given(st.binary(max_size=200))
def test_garbage_is_refused_by_every_parser(data):
    for parse in (parse_auth, parse_attest):
        try:
            parse(data)
        except InvalidInputError:
            continue
        raise AssertionError


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=100))
def test_nothing_but_code_words_comes_out_of_a_refusal(text):
    body = problem_body(status=403, title=text, reasons=[text, "fine", text.upper()])
    assert all(word == "fine" or (word.isascii() and word.replace("-", "").islower()) for word in parse_reasons(body))
    assert parse_reasons(text) == ()
