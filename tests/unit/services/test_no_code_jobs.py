"""No-code jobs: the code under review is what the template gives, and nothing else."""

from dataclasses import replace

import pytest

from opaque_jobs.domain.job import Code, JobKind, Language, TemplateUse
from opaque_jobs.errors import InvalidInputError
from opaque_jobs.templates.registry import load_catalogue

PARAMETERS = {"datasets": {"first": "patients", "second": "findings"}, "keys": [{"first": "id", "second": "id"}]}


def _use(**over):
    template = load_catalogue(environ={}).find("overlap-count")
    given = {"name": template.name, "version": template.version, "digest": template.digest, "parameters": PARAMETERS}
    return TemplateUse(**(given | over))


def _spec(cast, **over):
    job = cast.make_job(**({"kind": JobKind.NO_CODE, "template": _use(), "code": None} | over))
    return cast.services.jobs.spec_for_submission(job.id, actor=cast.id("anna"))


def test_spec_of_a_no_code_job_is_rendered_from_its_template(study):
    spec = _spec(study)
    assert "count" in spec.code.text.lower()
    assert {use.alias: use.columns for use in spec.datasets} == {"patients": ("id",), "findings": ("id",)}
    assert spec.output_policy.max_rows == 1
    assert spec.template.parameters["min_count"] == 10


def test_rendered_code_may_be_in_the_draft_but_no_other(study):
    rendered = _spec(study).code
    assert _spec(study, code=rendered).code == rendered
    with pytest.raises(InvalidInputError):
        _spec(study, code=Code(language=Language.SQL, text=rendered.text + "\n"))


def test_template_of_another_digest_is_refused(study):
    with pytest.raises(InvalidInputError):
        _spec(study, template=_use(digest="sha256:" + "0" * 64))


def test_parameters_that_do_not_fit_are_refused(study):
    with pytest.raises(InvalidInputError):
        _spec(study, template=replace(_use(), parameters=PARAMETERS | {"min_count": 1}))
