from opaque_jobs.enclave.agent.run_log import RunLog

CODE = "a = 1\nb = secret_free_code()\n"


def test_log_of_a_real_run_drops_what_the_author_prints_and_says():
    log = RunLog(verbose=False)
    with log.pipe() as pipe:
        pipe.write(b"row 17 is anna\n")
    log.settle()
    log.author_error(error="ValueError", condition="", line=2, code=CODE, message="row 17 is anna")

    assert log.content() == b"the code failed: ValueError, at line 2: b = secret_free_code()\n"


def test_log_of_a_real_run_repeats_no_word_that_the_author_made_up():
    log = RunLog(verbose=False)

    log.author_error(error="Row17IsAnna", condition="ROW.17_IS_ANNA", line=9999, code=CODE)

    assert log.content() == b"the code failed: an exception\n"


def test_log_of_a_test_run_keeps_everything():
    log = RunLog(verbose=True)
    with log.pipe() as pipe:
        pipe.write(b"hello\n")
    log.settle()
    log.author_error(error="ValueError", condition="", line=1, code=CODE, message="because")

    assert log.content() == b"hello\nthe code failed: ValueError, at line 1: a = 1\nbecause\n"


def test_log_is_bounded():
    log = RunLog(verbose=True)
    for _ in range(40):
        log.note("x" * 10_000)

    assert len(log.content()) == 256 * 1024
