"""Pinned queries: a member's own, in a workspace that they are a member of now."""

import pytest

from opaque_jobs.domain.job import Code, Language
from opaque_jobs.errors import ConflictError, InvalidInputError, NotFoundError
from opaque_jobs.services.pinned_queries import MAX_PINNED, MAX_PINNED_TEXT

SQL = Code(language=Language.SQL, text="SELECT 1")
PYTHON = Code(language=Language.PYTHON, text="result = spark.range(3)")


def pin(study, member="anna", name="rates", code=SQL, **over):
    return study.services.queries.pin(
        **({"actor": study.id(member), "workspace_id": study.workspace_id, "name": name, "code": code} | over)
    )


def pinned(study, member="anna"):
    return {each.name: each.code for each in study.services.queries.list(actor=study.id(member), workspace_id=study.workspace_id)}


def test_pinned_query_comes_back_as_it_was(study):
    pin(study, name="b", code=PYTHON)
    pin(study, name="a")
    assert list(pinned(study).items()) == [("a", SQL), ("b", PYTHON)]
    shown = study.services.queries.show(actor=study.id("anna"), workspace_id=study.workspace_id, name="b")
    assert (shown.code, shown.pinned_at) == (PYTHON, study.clock())


@pytest.mark.parametrize("other", ["ben", "lea"])
def test_pinned_query_of_another_member_does_not_exist(study, other):
    pin(study)
    assert pinned(study, other) == {}
    given = {"actor": study.id(other), "workspace_id": study.workspace_id, "name": "rates"}
    for call in (study.services.queries.show, study.services.queries.unpin):
        with pytest.raises(NotFoundError):
            call(**given)
    assert pin(study, other, code=PYTHON).code == PYTHON
    assert pinned(study) == {"rates": SQL}


def test_pinned_query_of_another_workspace_is_not_here(study):
    pin(study, workspace_id=study.make_workspace("anna", name="Second"))
    assert pinned(study) == {}


def test_stranger_to_the_workspace_cannot_pin_or_look(study):
    queries, given = study.services.queries, {"actor": study.id("mallory"), "workspace_id": study.workspace_id}
    for call in (
        lambda: pin(study, "mallory"),
        lambda: queries.list(**given),
        lambda: queries.show(**given, name="rates"),
        lambda: queries.unpin(**given, name="rates"),
    ):
        with pytest.raises(NotFoundError, match="workspace"):
            call()


def test_member_who_left_does_not_reach_their_queries(study):
    pin(study, "ben")
    study.change_members("anna", "lea")
    with pytest.raises(NotFoundError, match="workspace"):
        pinned(study, "ben")


def test_name_taken_is_refused_unless_replacing_is_asked_for(study):
    pin(study)
    with pytest.raises(ConflictError):
        pin(study, code=PYTHON)
    assert pinned(study) == {"rates": SQL}
    pin(study, code=PYTHON, replace=True)
    assert pinned(study) == {"rates": PYTHON}


def test_unpinned_query_is_gone_and_its_name_free(study):
    pin(study)
    study.services.queries.unpin(actor=study.id("anna"), workspace_id=study.workspace_id, name="rates")
    assert pinned(study) == {}
    pin(study, code=PYTHON)


@pytest.mark.parametrize("name", ["", " x", "x" * 51, "x/y", "x\n"])
def test_name_that_is_not_one_is_refused(study, name):
    with pytest.raises(InvalidInputError):
        pin(study, name=name)


def test_query_that_is_too_long_is_refused(study):
    pin(study, code=Code(language=Language.SQL, text="x" * MAX_PINNED_TEXT))
    with pytest.raises(InvalidInputError):
        pin(study, name="longer", code=Code(language=Language.SQL, text="x" * (MAX_PINNED_TEXT + 1)))


def test_more_queries_than_allowed_are_refused_but_replacing_goes_on(study):
    for number in range(MAX_PINNED):
        pin(study, name=f"q{number}")
    with pytest.raises(ConflictError):
        pin(study, name="one more")
    pin(study, name="q0", code=PYTHON, replace=True)
    pin(study, "ben", name="one more")
