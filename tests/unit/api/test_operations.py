import pytest

from opaque_jobs.errors import ConflictError, DeniedError, NotFoundError, OpaqueJobsError
from tests.support.toy_coordinator import NOW, ToyCoordinator


@pytest.fixture
def coordinator():
    made = ToyCoordinator()
    yield made
    made.http.close()


def test_operation_called_by_a_client_gives_what_the_use_case_gives(coordinator):
    toys = coordinator.toys()
    made = toys.make(colour="red", picture=b"\x00\xff")
    assert (made.id, made.colour, made.made_at, made.picture, made.version) == ("toy-1", "red", NOW, b"\x00\xff", 1)
    assert toys.show(made.id) == made
    assert toys.list().items == (made,)
    assert coordinator.use_cases.asked == ["anna"]


def test_operation_with_several_values_in_the_query_filters_by_all(coordinator):
    toys = coordinator.toys()
    for colour in ("red", "green", "a&b=c"):
        toys.make(colour=colour, picture=b"")
    assert [each.colour for each in toys.list(colour=("red", "a&b=c")).items] == ["red", "a&b=c"]
    assert len(toys.list(limit=2).items) == 2


def test_operation_whose_path_has_odd_characters_reaches_the_same_thing(coordinator):
    with pytest.raises(NotFoundError) as caught:
        coordinator.toys().show("..a b?c#d%25:é")
    assert caught.value.facts["toy"] == "..a b?c#d%25:é"


def test_change_of_an_outdated_version_is_refused_and_the_answer_names_its_version(coordinator):
    toys = coordinator.toys()
    made = toys.make(colour="red", picture=b"")
    assert toys.paint(made.id, colour="blue", version=1).version == 2
    with pytest.raises(ConflictError, match="meanwhile"):
        toys.paint(made.id, colour="green", version=1)


@pytest.mark.parametrize(
    ("error", "ask"), [(NotFoundError, lambda toys: toys.show("x")), (DeniedError, lambda toys: toys.throw_away("toy-1"))]
)
def test_error_of_a_use_case_arrives_as_the_same_error_with_its_hint(coordinator, error, ask):
    with pytest.raises(error) as caught:
        ask(coordinator.toys("lea"))
    assert caught.value.hint


def test_operation_without_answer_gives_nothing(coordinator):
    toys = coordinator.toys()
    toys.make(colour="red", picture=b"")
    assert toys.throw_away("toy-1") is None
    assert toys.list().items == ()


def test_error_that_nobody_foresaw_says_nothing_of_itself(coordinator):
    with pytest.raises(OpaqueJobsError, match="internal error") as caught:
        coordinator.toys().break_down()
    assert "canary" not in str(caught.value)


def test_openapi_document_describes_every_operation_and_its_documents(coordinator):
    document = coordinator.http.get("/opaque-jobs/api/v1/openapi.json").json()
    found = {each["operationId"] for path in document["paths"].values() for each in path.values()}
    assert found == {each.id for each in coordinator.operations} | {"auth.challenge", "auth.token"}
    make = document["paths"]["/api/v1/toys"]["post"]
    schema = make["requestBody"]["content"]["application/json"]["schema"]
    assert schema["properties"]["picture"] == {"type": "string", "format": "byte"}
    assert schema["required"] == ["colour", "picture"]
    assert document["components"]["schemas"]["Toy"]["properties"]["made_at"]["format"] == "date-time"
    assert "x-schemas" not in str(document)
