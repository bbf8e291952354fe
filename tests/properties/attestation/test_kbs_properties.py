"""The protocol's messages survive the way through a relay, and nothing else parses as one."""

import json

import pytest
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
    parse_unlogged,
    problem_body,
    unlogged_body,
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


SHOWN = AttestRequest(
    nonce="bm9uY2U=", keys=KEYS, job_spec=b"{}", bundle=b"{}", run_id="run-1", inputs={"x": 1}, refreshed={"a": "b"},
    evidence=b"{}",
)  # fmt: skip
LONE = "\ud800"


def changed(body, path, value):
    """Give a message with one field changed."""
    document = json.loads(body)
    inner = document
    for name in path[:-1]:
        inner = inner[name]
    assert path[-1] in inner
    inner[path[-1]] = value
    return json.dumps(document)


OTHERS = {
    (parse_auth, auth_body(TeeKind.TDX)): [
        (["version"], "0.2.0"), (["version"], None), (["tee"], "sgx"), (["tee"], []), (["extra-params"], {"x": 1}),
    ],
    (parse_attest, attest_body(SHOWN)): [
        (["init-data", "format"], "opaque-jobs/v2"), (["runtime-data", "nonce"], 1), (["runtime-data", "nonce"], LONE),
        (["runtime-data", "tee-pubkey"], {}), (["init-data", "body", "run_id"], 1), (["init-data", "body", "run_id"], "../run-1"),
        (["init-data", "body", "run_id"], "run-1\n"), (["init-data", "body", "run_id"], ""),
        (["init-data", "body", "run_id"], "r" * 129), (["init-data", "body", "inputs"], [["x", 1]]),
        (["init-data", "body", "inputs"], {LONE: 1}), (["init-data", "body", "refreshed"], [["a", "b"]]),
        (["init-data", "body", "refreshed"], {"a": 1}), (["init-data", "body", "job_spec"], 1),
        (["init-data", "body", "bundle"], "e30"), (["tee-evidence", "primary_evidence"], {}), (["tee-evidence"], []),
    ],
    (parse_auth_answer, auth_answer("bm9uY2Utb2YtMTYtYnl0ZXM=")): [
        (["nonce"], 1), (["nonce"], "bm9uY2Utb2YtMTUtYnl0"), (["nonce"], "no base64"), (["nonce"], LONE),
    ],
    (parse_attest_answer, attest_answer("token")): [(["token"], 1), (["token"], None), (["token"], LONE)],
    (parse_unlogged, unlogged_body(b"{}")): [(["statement"], 1), (["statement"], None), (["statement"], LONE)],
}  # fmt: skip


@pytest.mark.parametrize(
    ("parse", "body", "path", "value"), [(*message, *change) for message, changes in OTHERS.items() for change in changes]
)
def test_message_with_one_field_of_another_form_is_refused(parse, body, path, value):
    written = (lambda text: text.encode()) if parse in {parse_auth, parse_attest} else str
    parse(written(body))
    with pytest.raises(InvalidInputError):
        parse(written(changed(body, path, value)))


def test_statement_to_be_logged_survives_and_nothing_else_is_taken_for_one():
    assert parse_unlogged(unlogged_body(b"{}")) == b"{}"
    for body in ("[]", "1", "{}"):
        with pytest.raises(InvalidInputError):
            parse_unlogged(body)
