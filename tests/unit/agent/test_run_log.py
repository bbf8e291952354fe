"""What a run's log may say, by the approved policy: whatever an author's code tries, in a real run it is one of few words."""

import os

import pytest

from opaque_jobs.domain.output_policy import FULL_LOG_BYTES, LogKind, OutputPolicy
from opaque_jobs.domain.padding import pad
from opaque_jobs.enclave.agent.known_words import error_class, is_condition
from opaque_jobs.enclave.agent.run_log import RunLog

CODE = "a = 1\nb = secret_free_code()\n"
CANARY = "row 17 is anna"


def real(kind: LogKind, **over: int) -> RunLog:
    policy = OutputPolicy(**({"max_rows": 1, "max_columns": 1, "max_bytes": 1 << 20, "preview_rows": 0} | over), log=kind)
    return RunLog(verbose=False, policy=policy)


def write(log: RunLog, data: bytes, *, authors: bool) -> None:
    with log.pipe(authors=authors) as pipe:
        pipe.write(data)
    log.settle()


@pytest.mark.parametrize("kind", [LogKind.NONE, LogKind.WORDS])
def test_log_of_a_real_run_drops_what_the_author_prints_and_says(kind):
    log = real(kind)
    write(log, CANARY.encode(), authors=True)
    log.author_error(error="ValueError", condition="", line=2, code=CODE, message=CANARY)

    assert (
        log.content()
        == {
            LogKind.NONE: b"",
            LogKind.WORDS: b"the code failed: ValueError, at line 2: b = secret_free_code()\n",
        }[kind]
    )


@pytest.mark.parametrize(
    "condition",
    [
        "ROW.17_IS_ANNA",
        "CANNOT_OPEN_SOCKET.row 17 is anna",
        "CANNOT_OPEN_SOCKET.",
        "CANNOT_OPEN_SOCKET\n",
        "message",
        "sqlState",
        "x" * 200,
    ],
)
@pytest.mark.parametrize("error", ["Row17IsAnna", "int", "annotations", "__builtins__", "print", "ValueError.anna", ""])
def test_log_of_a_real_run_repeats_no_word_that_the_author_made_up(error, condition):
    log = real(LogKind.WORDS)

    log.author_error(error=error, condition=condition, line=9999, code=CODE)

    assert log.content() == b"the code failed: an exception\n"


def test_log_knows_the_words_that_python_and_spark_publish():
    assert error_class("ZeroDivisionError") == "ZeroDivisionError"
    assert error_class("AnalysisException") == "AnalysisException"
    assert error_class("SyntaxError") == "SyntaxError"
    assert is_condition("CANNOT_OPEN_SOCKET")


def test_log_of_a_real_run_that_may_be_full_holds_what_the_author_prints_and_nothing_of_the_engine():
    log = real(LogKind.FULL)
    write(log, b"mean: 4.2\n", authors=True)
    write(log, b"held back: site = B\n", authors=False)
    log.note("done")

    assert log.content() == b"mean: 4.2\ndone\n"


@pytest.mark.parametrize(("max_bytes", "limit"), [(1 << 30, FULL_LOG_BYTES), (5000, 5000)])
def test_log_of_a_real_run_that_may_be_full_is_held_to_the_policy_and_still_says_how_it_ended(max_bytes, limit):
    log = real(LogKind.FULL, max_bytes=max_bytes)
    write(log, b"x" * (1 << 20), authors=True)
    log.note("the code gave no result")

    assert len(log.content()) == limit
    assert log.content().endswith(b"(cut here: there is a limit)\nthe code gave no result\n")


def test_log_in_words_has_one_size_from_outside_whatever_it_says():
    code = "\n" * 5000 + "ä" * 5000
    sizes = set()
    for line in range(0, 5002, 500):
        log = real(LogKind.WORDS)
        for _ in range(line):
            log.note("refused: the result has more rows than the output policy allows (10)")
        log.author_error(error="ValueError", condition="CANNOT_OPEN_SOCKET", line=line, code=code)
        sizes.add(len(pad(log.content())))

    assert sizes == {4096}


def test_log_of_a_test_run_keeps_everything():
    log = RunLog(verbose=True)
    write(log, b"hello\n", authors=True)
    write(log, b"a warning\n", authors=False)
    log.author_error(error="ValueError", condition="", line=1, code=CODE, message="because")

    assert log.content() == b"hello\na warning\nthe code failed: ValueError, at line 1: a = 1\nbecause\n"


def test_log_is_bounded():
    log = RunLog(verbose=True)
    for _ in range(40):
        log.note("x" * 10_000)
    write(log, os.urandom(1 << 20), authors=True)

    assert len(log.content()) <= 256 * 1024 + 64
