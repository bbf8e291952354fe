"""What a template's folder may hold, what is said when it is wrong, and where templates are found."""

import shutil
from importlib.metadata import EntryPoint

import pytest

from opaque_jobs.errors import InvalidInputError, NotFoundError
from opaque_jobs.templates import BUILT_IN, registry
from opaque_jobs.templates.definition import read_template
from opaque_jobs.templates.registry import load_catalogue
from tests.support.template_folders import PARAMETERS, make_template


def test_template_that_is_complete_is_read(tmp_path):
    template = read_template(make_template(tmp_path / "counting"))
    assert (template.name, template.version, template.language) == ("counting", "1.0.0", "sql")
    assert template.parameters["required"] == ["datasets", "column"]


@pytest.mark.parametrize(
    ("over", "message"),
    [
        ({"v": 2}, "version"),
        ({"name": "Counting!"}, "name"),
        ({"version": "1"}, "version"),
        ({"title": None}, "expected form"),
        ({"extra": 1}, "expected form"),
        ({"language": "r"}, "expected form"),
        ({"datasets": []}, "no data set"),
        ({"datasets": [{"name": "a", "description": ""}, {"name": "A", "description": ""}]}, "twice"),
        ({"datasets": [{"name": "a b", "description": ""}]}, "not valid"),
        ({"parameters": {"type": "object", "properties": {}}}, "closed JSON Schema"),
        ({"parameters": PARAMETERS | {"properties": {"datasets": {}}}}, "closed JSON Schema"),
        ({"parameters": PARAMETERS | {"properties": {"item": {}}}}, "closed JSON Schema"),
        ({"parameters": PARAMETERS | {"properties": {"a": {"type": 5}}}}, "2020-12"),
        ({"parameters": PARAMETERS | {"properties": {"a": {"$ref": "http://127.0.0.1/x"}}}}, "leaves the document"),
        ({"parameters": PARAMETERS | {"properties": {"a": {"type": "string", "x-column-of": "b"}}}}, "does not have"),
        ({"output_policy": {"max_rows": 0, "max_columns": 1, "max_bytes": 1, "preview_rows": 1, "log": "words"}}, "bound"),
    ],
)
def test_template_with_a_wrong_field_is_refused_with_its_reason(tmp_path, over, message):
    with pytest.raises(InvalidInputError, match=message) as caught:
        read_template(make_template(tmp_path / "counting", **over))
    assert caught.value.hint


def test_template_without_logic_is_refused(tmp_path):
    with pytest.raises(InvalidInputError, match=r"query\.sql"):
        read_template(make_template(tmp_path / "counting", logic_name="other.sql"))


def test_template_with_an_unknown_file_is_refused(tmp_path):
    folder = make_template(tmp_path / "counting")
    (folder / "notes.txt").write_text("")
    with pytest.raises(InvalidInputError, match=r"notes\.txt"):
        read_template(folder)


@pytest.mark.parametrize("logic", ["def main(spark", "x = 1", "TEMPLATE = ''", "def main(a, b, c): pass\nTEMPLATE=1\nTEMPLATE=2"])
def test_template_in_python_without_main_and_constant_is_refused(tmp_path, logic):
    with pytest.raises(InvalidInputError, match=r"main\.py"):
        read_template(make_template(tmp_path / "counting", language="python", logic_name="main.py", logic=logic))


@pytest.mark.parametrize("change", ["template.json", "query.sql", "tests/matches-on-two-keys.json"])
def test_template_digest_changes_with_any_byte(tmp_path, change):
    folder = shutil.copytree(BUILT_IN / "overlap-count", tmp_path / "copy")
    before = read_template(folder).digest
    path = folder / change
    path.write_bytes(path.read_bytes() + b"\n")
    assert read_template(folder).digest != before


def test_template_digest_changes_when_a_test_goes(tmp_path):
    folder = shutil.copytree(BUILT_IN / "overlap-count", tmp_path / "copy")
    before = read_template(folder).digest
    (folder / "tests" / "matches-on-two-keys.json").unlink()
    assert read_template(folder).digest != before


def test_catalogue_has_the_built_in_templates_and_no_problem():
    catalogue = load_catalogue(environ={})
    assert [t.name for t in catalogue.templates] == ["join-and-aggregate", "logistic-regression", "overlap-count"]
    assert catalogue.problems == ()


def test_catalogue_finds_the_newest_version_in_a_folder_of_the_environment(tmp_path):
    make_template(tmp_path / "a", version="1.9.0")
    make_template(tmp_path / "b", version="1.10.0")
    catalogue = load_catalogue(environ={"OPAQUE_JOBS_TEMPLATES": str(tmp_path)})
    assert catalogue.find("counting").version == "1.10.0"
    assert catalogue.find("counting", "1.9.0").version == "1.9.0"
    with pytest.raises(NotFoundError, match="no such template"):
        catalogue.find("counting", "2.0.0")


def test_catalogue_with_a_broken_template_lists_it_and_keeps_the_others(tmp_path):
    make_template(tmp_path / "broken", v=7)
    catalogue = load_catalogue([tmp_path], environ={})
    assert len(catalogue.templates) == 3
    assert [problem.source for problem in catalogue.problems] == ["folder: broken"]


def test_catalogue_with_two_definitions_of_one_name_refuses_both(tmp_path):
    copy = shutil.copytree(BUILT_IN / "overlap-count", tmp_path / "overlap-count")
    (copy / "query.sql").write_text((copy / "query.sql").read_text() + "-- changed\n")
    catalogue = load_catalogue([tmp_path], environ={})
    assert "overlap-count" not in {template.name for template in catalogue.templates}
    assert "two different templates" in catalogue.problems[0].message


def test_catalogue_with_the_same_template_twice_lists_it_once(tmp_path):
    shutil.copytree(BUILT_IN / "overlap-count", tmp_path / "overlap-count")
    assert len(load_catalogue([tmp_path], environ={}).templates) == 3


def test_catalogue_with_a_folder_that_is_missing_says_so(tmp_path):
    assert len(load_catalogue([tmp_path / "none"], environ={}).problems) == 1


def test_catalogue_offers_what_admins_chose():
    assert [t.name for t in load_catalogue(environ={}).offered(["overlap-count"])] == ["overlap-count"]


def test_catalogue_takes_packages_and_survives_a_broken_one(tmp_path, monkeypatch):
    make_template(tmp_path / "templates" / "counting")
    (tmp_path / "platform_team_templates.py").write_text(
        f"from pathlib import Path\nFOLDER = Path({str(tmp_path / 'templates')!r})\nWRONG = 'text'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    points = [
        EntryPoint(name=name, value=f"platform_team_templates:{value}", group=registry.ENTRY_POINTS)
        for name, value in (("good", "FOLDER"), ("wrong", "WRONG"), ("missing", "NONE"))
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: points)
    catalogue = load_catalogue(environ={})
    assert catalogue.find("counting").version == "1.0.0"
    assert [problem.source for problem in catalogue.problems] == ["entry point wrong", "entry point missing"]
