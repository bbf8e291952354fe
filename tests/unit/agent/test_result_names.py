"""Which names may stand in a result: those that members saw, and nothing that data could spell."""

import pytest

from opaque_jobs.enclave.agent.result_names import ApprovedNames, names_in

SQL = "select site, count(*) as `na me`, sum(age) from visits pivot (avg(x) for site in ('north' as n))"
NAMES = ApprovedNames(SQL, ("site", "age", "blood pressure", "x.y"))


def field(name, kind="long", **metadata):
    return {"name": name, "type": kind, "nullable": True, "metadata": metadata}


def struct(*fields):
    return {"type": "struct", "fields": list(fields)}


@pytest.mark.parametrize(
    "name",
    ["site", "blood pressure", "na me", "count(1)", "sum(age)", "avg(age)", "count(DISTINCT site)", "corr(age, site)", "n",
     "avg_age", "age_for_site", "summary", "col1", "_2", "count"],
)  # fmt: skip
def test_name_that_members_saw_goes_out(name):
    assert NAMES.holds(name)


@pytest.mark.parametrize(
    "name",
    ["", "41", "Ada Lovelace", "age=41", "sum(41)", "sum(age) ", "sit", "it", "count(*) as `na me`, sum(age) x", "col12345",
     "x" * 200, "secret(age)", "sum(age, 17)", "age\u200b", "ages", "n,n", "sum_41", "age_Ada",
     "_".join(["age"] * 9)],
)  # fmt: skip
def test_name_that_data_could_spell_does_not(name):
    assert not NAMES.holds(name)


def test_names_that_the_code_alone_settles_stay_and_their_metadata_does_not():
    names = ApprovedNames("select sum(case when age > 1 then 1 end)", (), settled=True)
    name = "sum(CASE WHEN (age > 1) THEN 1 END)"

    assert names.shaped(struct(field(name, comment="Ada"))) == struct(field(name))


def test_name_longer_than_the_bound_does_not_even_if_the_code_has_it():
    assert not ApprovedNames("a " * 200, ()).holds("a " * 99 + "a")


def test_schema_of_approved_names_stays_the_same():
    listed = {"type": "array", "elementType": struct(field("n")), "containsNull": True}
    schema = struct(field("site", "string"), field("age", listed))

    assert NAMES.shaped(schema) == schema


def test_schema_with_other_names_gets_places_at_every_depth():
    inner = struct(field("site"), field("Ada"))
    schema = struct(
        field("41"),
        field("Bern, Basel"),
        field("site", {"type": "map", "keyType": "string", "valueType": inner, "valueContainsNull": True}),
    )

    assert list(names_in(NAMES.shaped(schema))) == ["column_1", "column_2", "site", "site", "field_2"]


def test_place_that_a_column_already_has_is_not_given_twice():
    names = ApprovedNames("select column_1 from t", ())

    assert list(names_in(names.shaped(struct(field("Ada"), field("column_1"))))) == ["column_1_", "column_1"]


def test_metadata_is_dropped_at_every_depth():
    schema = struct(field("site", struct(field("n", comment="Ada")), comment="Bern"))

    assert NAMES.shaped(schema) == struct(field("site", struct(field("n"))))
