"""Every form of SQL that an analyst writes must pass the gate's rules, with Spark's own parser, in one start of the engine."""

import shutil
from pathlib import Path

import pytest

from tests.support.enclave_probe import run_probe

pytestmark = pytest.mark.spark

FORMS = Path(__file__).with_name("sql_forms.sql")


@pytest.fixture(scope="module")
def report(enclave_runtime, tmp_path_factory):
    folder = tmp_path_factory.mktemp("forms")
    data = folder / "data"
    data.mkdir()
    shutil.copy(FORMS, data)
    return run_probe(enclave_runtime, FORMS.with_name("forms_probe.py"), data=data, out=folder / "out")


@pytest.mark.parametrize("text", FORMS.read_text().splitlines())
def test_sql_form_passes_the_rules(report, text):
    assert report["forms"][text] == ""


def test_every_function_of_this_spark_is_listed_as_allowed_or_refused(report):
    assert report["unlisted"] == []
