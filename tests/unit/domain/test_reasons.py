"""Every code that a broker or the enclave can give has words, and the words are for people."""

import ast
import re
from pathlib import Path

import pytest

from opaque_jobs.domain.reasons import REASONS, in_words

PACKAGE = Path(__file__).parents[3] / "opaque_jobs"
SOURCES = [
    *(PACKAGE / "broker").glob("*.py"),
    PACKAGE / "crypto" / "consent.py",
    PACKAGE / "crypto" / "log_proof.py",
    PACKAGE / "crypto" / "coverage.py",
    PACKAGE / "domain" / "review.py",
    PACKAGE / "domain" / "rerun_terms.py",
    PACKAGE / "attestation" / "appraisal.py",
    PACKAGE / "attestation" / "evidence.py",
    PACKAGE / "enclave" / "agent" / "admission.py",
    PACKAGE / "enclave" / "agent" / "attestation.py",
]
CODE = re.compile(r"[a-z]+(-[a-z]+)+")
NO_REASONS = {"content-type", "kbs-session-id", "opaque-jobs-nonce", "runtime-data", "init-data", "tee-evidence", "extra-params"}


def codes(source: Path) -> set[str]:
    """Give the texts of a module that look like a code."""
    found = {node.value for node in ast.walk(ast.parse(source.read_text())) if isinstance(node, ast.Constant)}
    return {text for text in found if isinstance(text, str) and CODE.fullmatch(text)} - NO_REASONS


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_code_of_a_refusal_has_words(source):
    assert codes(source) <= set(REASONS)


def test_words_of_no_code_are_dead():
    given = set().union(*(codes(source) for source in SOURCES)) | codes(PACKAGE / "attestation" / "kbs.py")
    assert set(REASONS) <= given | {"internal", "rejected"}


@pytest.mark.parametrize("words", REASONS.values())
def test_words_are_one_short_sentence_without_full_stop(words):
    assert len(words) <= 130
    assert not words.endswith(".")


def test_unknown_code_is_shown_as_it_is():
    assert in_words("something-new") == "something-new"
