"""What a roster, a job specification and a manifest may never be, however they come to be made."""

from dataclasses import replace

import pytest

from opaque_jobs.crypto.keys import SealingKey, SigningKey
from opaque_jobs.domain.approval_rule import ApprovalGroup
from opaque_jobs.domain.canonical import canonical_bytes
from opaque_jobs.domain.dataset import Column, DatasetManifest, Part
from opaque_jobs.domain.document import to_json
from opaque_jobs.domain.inputs import InputType, InputVariable
from opaque_jobs.domain.job import (
    Code,
    DatasetUse,
    JobKind,
    JobSpec,
    Language,
    Limits,
    Recipient,
    TeeKind,
    TemplateUse,
    parse_job_spec,
)
from opaque_jobs.domain.output_policy import OutputPolicy
from opaque_jobs.domain.rerun_terms import RerunTerms
from opaque_jobs.domain.tee_policy import NO_HARDWARE
from opaque_jobs.domain.workspace import MemberEntry, OrganisationEntry, Roster, RunPolicy, parse_roster
from opaque_jobs.errors import InvalidInputError, NotFoundError
from opaque_jobs.services import JobDraft
from tests.support.tee_policies import make_nitro_policy, make_snp_policy, make_tdx_policy, on_hardware, policies

DIGEST = "sha256:" + "ab" * 32
SEALING = SealingKey.generate().public.text


def make_member(number, **over):
    given = {
        "id": f"member-{number}",
        "name": f"m{number}",
        "organisation_id": "org-1",
        "public_key": SigningKey.generate().public.text,
    }
    return MemberEntry(**(given | over))


HOME = OrganisationEntry(
    id="org-1", name="one", sealing_key=SEALING, broker_deposit_key=SEALING, broker_signing_key=make_member(0).public_key
)


def make_roster(**over):
    given = {
        "v": 1,
        "workspace_id": "ws-1",
        "name": "Study",
        "epoch": 1,
        "genesis": None,
        "previous": None,
        "members": (make_member(1), make_member(2)),
        "organisations": (HOME,),
        "run_policy": RunPolicy.AUTHOR,
        "runners": (),
        "approval_groups": (),
        "log_key": make_member(0).public_key,
        "nonce": "5e" * 16,
    }
    return Roster(**(given | over))


def make_use(**over):
    given = {
        "alias": "patients",
        "dataset_id": "ds-1",
        "dataset_version": 1,
        "manifest_digest": DIGEST,
        "schema_digest": DIGEST,
        "policy_commitment": DIGEST,
        "organisation_id": "org-1",
        "columns": ("id",),
    }
    return DatasetUse(**(given | over))


def make_spec(**over):
    given = {
        "v": 1,
        "workspace_id": "ws-1",
        "workspace_genesis": DIGEST,
        "epoch": 1,
        "roster_digest": DIGEST,
        "job_id": "job-1",
        "revision": 1,
        "author_id": "member-1",
        "name": "Job",
        "description": "",
        "kind": JobKind.NOTEBOOK,
        "code": Code(language=Language.SQL, text="SELECT 1"),
        "template": None,
        "inputs": (),
        "datasets": (make_use(),),
        "output_policy": OutputPolicy(max_rows=1, max_columns=1, max_bytes=1, preview_rows=0),
        "recipients": (Recipient(organisation_id="org-1", sealing_key=SEALING, sealing_key_id=DIGEST),),
        "rerun_terms": RerunTerms(
            max_runs=1, not_before=None, not_after=None, min_interval_s=0, schedule=None, variable_inputs=()
        ),
        "measurement": DIGEST,
        "tee_kinds": (TeeKind.SIMULATED,),
        "tee_policies": NO_HARDWARE,
        "spark_conf": {},
        "limits": Limits(memory_bytes=1 << 30, cores=1, pids=256, timeout_s=1, scratch_bytes=1),
    }
    return JobSpec(**(given | over))


TWIN = make_member(1)


def make_group(**over):
    return ApprovalGroup(**({"name": "Board", "threshold": 1, "member_ids": ("member-1", "member-2")} | over))


@pytest.mark.parametrize(
    "over",
    [
        {"threshold": 0},
        {"threshold": -1},
        {"threshold": 3},
        {"member_ids": ()},
        {"member_ids": (), "threshold": 0},
        {"member_ids": ("member-2", "member-1")},
        {"member_ids": ("member-1", "member-1")},
        {"name": ""},
        {"name": "a:b"},
    ],
)
def test_approval_group_that_asks_for_none_or_too_many_is_refused(over):
    with pytest.raises(InvalidInputError):
        make_group(**over)


@pytest.mark.parametrize(
    "over",
    [
        {"v": 2},
        {"epoch": 0},
        {"epoch": 2},
        {"previous": DIGEST},
        {"genesis": DIGEST},
        {"members": ()},
        {"members": (make_member(2), make_member(1))},
        {"members": (TWIN, TWIN)},
        {"members": (TWIN, make_member(2, public_key=TWIN.public_key))},
        {"members": (make_member(1, organisation_id="org-2"),)},
        {"organisations": ()},
        {"organisations": (HOME, replace(HOME, id="org-2"))},
        {"runners": ("member-1",)},
        {"run_policy": RunPolicy.NAMED_MEMBERS},
        {"run_policy": RunPolicy.NAMED_MEMBERS, "runners": ("member-9",)},
        {"name": ""},
        {"name": "x" * 51},
        {"name": " x"},
        {"name": "a/b"},
        {"approval_groups": (make_group(member_ids=("member-1", "member-9")),)},
        {"approval_groups": (make_group(), make_group(threshold=2))},
        {"approval_groups": (make_group(name="B"), make_group(name="A"))},
        {"approval_groups": tuple(make_group(name=f"G{number}") for number in range(10, 31))},
    ],
)
def test_roster_that_is_not_consistent_is_refused(over):
    with pytest.raises(InvalidInputError):
        make_roster(**over)


def test_roster_survives_its_bytes_and_its_digest_covers_every_key():
    roster = make_roster()
    assert parse_roster(roster.to_bytes()) == roster
    other = replace(roster, members=(make_member(1), roster.members[1]))
    assert other.digest != roster.digest
    assert roster.genesis_digest == roster.digest
    later = make_roster(epoch=2, genesis=roster.digest, previous=roster.digest)
    assert later.genesis_digest == roster.digest


def test_roster_knows_its_own_and_nobody_else():
    roster = make_roster()
    assert roster.member("member-1").name == "m1"
    for call in (lambda: roster.member("member-9"), lambda: roster.organisation("org-9")):
        with pytest.raises(NotFoundError):
            call()


@pytest.mark.parametrize(
    ("policy", "runners", "may"),
    [
        (RunPolicy.AUTHOR, (), {"member-1"}),
        (RunPolicy.ALL_MEMBERS, (), {"member-1", "member-2"}),
        (RunPolicy.NAMED_MEMBERS, ("member-2",), {"member-2"}),
    ],
)
def test_run_policy_names_who_may_run(policy, runners, may):
    roster = make_roster(run_policy=policy, runners=runners)
    asked = {"member-1", "member-2", "member-9"}
    assert {each for each in asked if roster.may_run(each, author_id="member-1")} == may


def test_author_who_is_no_longer_a_member_may_not_run():
    assert not make_roster().may_run("member-9", author_id="member-9")


def make_terms(**over):
    given = {
        "max_runs": 3,
        "not_before": None,
        "not_after": "2026-12-31T00:00:00+00:00",
        "min_interval_s": 0,
        "schedule": None,
        "variable_inputs": (),
    }
    return RerunTerms(**(given | over))


REQUIRED = InputVariable(name="x", type=InputType.INTEGER, description="", default=None, constraints=(), sensitive=False)
TEMPLATE = TemplateUse(name="t", version="1.0.0", digest=DIGEST, parameters={})


@pytest.mark.parametrize(
    "over",
    [
        {"v": 2},
        {"epoch": 0},
        {"revision": 0},
        {"name": "x" * 51},
        {"description": "x" * 151},
        {"kind": JobKind.NO_CODE},
        {"template": TEMPLATE},
        {"datasets": ()},
        {"datasets": (make_use(), make_use(alias="PATIENTS"))},
        {"recipients": ()},
        {"tee_kinds": ()},
        {"measurement": "sha256:short"},
        {"review_until": ""},
        {"review_until": "2026-12-31T00:00:00"},
        {"spark_conf": {"spark.master": "local"}},
        {"spark_conf": {"spark.driver.extraJavaOptions": "-Dx"}},
        {"spark_conf": {"spark.sql.session.timeZone": "${spark.connect.authenticate.token}"}},
        {"inputs": (REQUIRED,)},
        {"inputs": (replace(REQUIRED, default=1), replace(REQUIRED, default=2))},
        {"inputs": (replace(REQUIRED, type=InputType.DATASET, default="others"),)},
        {
            "rerun_terms": RerunTerms(
                max_runs=1, not_before=None, not_after=None, min_interval_s=0, schedule=None, variable_inputs=("x",)
            )
        },
        {"rerun_terms": make_terms(follows=("others",))},
        {
            "inputs": (replace(REQUIRED, default=1, sensitive=True),),
            "rerun_terms": make_terms(variable_inputs=("x",)),
        },
        {"rerun_terms": make_terms(follows=("patients",)), "datasets": (make_use(), make_use(alias="b", dataset_version=2))},
        {"rerun_terms": make_terms(schedule="@daily", variable_inputs=("x",)), "inputs": (REQUIRED,)},
        {
            "rerun_terms": make_terms(follows=("patients",), on_refresh=True, variable_inputs=("x",)),
            "inputs": (REQUIRED,),
        },
    ],
)
def test_spec_that_contradicts_itself_is_refused(over):
    with pytest.raises(InvalidInputError):
        make_spec(**over)


@pytest.mark.parametrize(
    "call",
    [
        lambda: Code(language=Language.SQL, text=" \n"),
        lambda: Code(language=Language.SQL, text="x" * 1_000_001),
        lambda: make_use(columns=()),
        lambda: make_use(columns=("id", "id")),
        lambda: make_use(alias="1st"),
        lambda: make_use(manifest_digest="md5:0"),
        lambda: make_use(schema_digest="md5:0"),
        lambda: make_use(policy_commitment="md5:0"),
        lambda: Limits(memory_bytes=1 << 20, cores=1, pids=256, timeout_s=1, scratch_bytes=1),
        lambda: OutputPolicy(max_rows=0, max_columns=1, max_bytes=1, preview_rows=0),
        lambda: OutputPolicy(max_rows=1, max_columns=1, max_bytes=1, preview_rows=1001),
    ],
)
def test_part_of_a_spec_that_is_not_valid_is_refused(call):
    with pytest.raises(InvalidInputError):
        call()


CHANGES = {
    "workspace_id": "ws-2",
    "epoch": 2,
    "revision": 2,
    "author_id": "member-2",
    "name": "Other",
    "description": "other",
    "code": Code(language=Language.PYTHON, text="SELECT 1"),
    "datasets": (make_use(columns=("id", "value")),),
    "output_policy": OutputPolicy(max_rows=2, max_columns=1, max_bytes=1, preview_rows=0),
    "measurement": "sha256:" + "cd" * 32,
    **on_hardware(tdx=make_tdx_policy()),
    "spark_conf": {"spark.sql.ansi.enabled": "false"},
    "limits": Limits(memory_bytes=1 << 31, cores=1, pids=256, timeout_s=1, scratch_bytes=1),
    "roster_digest": "sha256:" + "cd" * 32,
}


@pytest.mark.parametrize("field", sorted(CHANGES))
def test_job_digest_covers_every_field(field):
    together = ("tee_kinds", "tee_policies", "experimental_hardware")
    given = {name: CHANGES[name] for name in (together if field in together else (field,))}
    assert replace(make_spec(), **given).digest != make_spec().digest


def test_job_digest_covers_the_policy_of_its_hardware():
    first = make_spec(**on_hardware(sev_snp=make_snp_policy(max_vmpl=0)))
    assert first.digest != make_spec(**on_hardware(sev_snp=make_snp_policy(max_vmpl=1))).digest


@pytest.mark.parametrize(
    ("kinds", "given"),
    [
        ((TeeKind.SEV_SNP,), {}),
        ((TeeKind.SIMULATED, TeeKind.TDX), {"sev_snp": make_snp_policy()}),
        ((TeeKind.SIMULATED,), {"tdx": make_tdx_policy()}),
        ((TeeKind.NITRO, TeeKind.NITRO), {"nitro": make_nitro_policy()}),
    ],
)
def test_job_that_lists_hardware_without_its_policy_or_the_reverse_is_refused(kinds, given):
    with pytest.raises(InvalidInputError, match="kinds of hardware"):
        make_spec(tee_kinds=kinds, tee_policies=policies(**given))


EVERY_HARDWARE = {"sev_snp": make_snp_policy(), "tdx": make_tdx_policy(), "nitro": make_nitro_policy()}


@pytest.mark.parametrize("kind", EVERY_HARDWARE)
def test_job_that_accepts_hardware_says_that_it_is_experimental_or_is_refused(kind):
    given = on_hardware(**{kind: EVERY_HARDWARE[kind]})
    assert make_spec(**given).experimental_hardware
    with pytest.raises(InvalidInputError, match="experimental") as caught:
        make_spec(**(given | {"experimental_hardware": False}))
    assert "--experimental-hardware" in caught.value.hint
    with pytest.raises(InvalidInputError, match="experimental"):
        JobDraft(kind=JobKind.NOTEBOOK, **(given | {"experimental_hardware": False}))


def test_job_without_hardware_that_says_it_is_experimental_is_refused():
    with pytest.raises(InvalidInputError, match="experimental"):
        make_spec(experimental_hardware=True)


@pytest.mark.parametrize("kind", EVERY_HARDWARE)
def test_job_that_accepts_simulated_enclaves_beside_hardware_is_refused(kind):
    given = on_hardware(**{kind: EVERY_HARDWARE[kind]})
    for kinds in ((TeeKind.SIMULATED, *given["tee_kinds"]), (*given["tee_kinds"], TeeKind.SIMULATED)):
        with pytest.raises(InvalidInputError, match="simulated enclaves beside hardware"):
            make_spec(**(given | {"tee_kinds": kinds}))


def test_job_document_without_the_flag_is_no_job_document():
    document = to_json(make_spec())
    assert document.pop("experimental_hardware") is False
    with pytest.raises(InvalidInputError):
        parse_job_spec(canonical_bytes(document))


def test_spec_survives_its_bytes_and_shows_all_its_fields():
    spec = make_spec(inputs=(replace(REQUIRED, default=3),))
    assert parse_job_spec(spec.to_bytes()) == spec
    assert set(to_json(spec)) == set(JobSpec.__dataclass_fields__)


def make_manifest(**over):
    given = {
        "v": 1,
        "dataset_id": "ds-1",
        "dataset_version": 1,
        "organisation_id": "org-1",
        "name": "patients",
        "columns": (Column(name="id", type="int64"),),
        "parts": (Part(name="part-00000.parquet", size_bytes=1, sha256=DIGEST, rows=2),),
        "rows": 2,
        "policy_commitment": DIGEST,
        "created_at": "2026-01-01T00:00:00+00:00",
    }
    return DatasetManifest(**(given | over))


@pytest.mark.parametrize(
    "over",
    [
        {"policy_commitment": "all rows"},
        {"v": 2},
        {"dataset_version": 0},
        {"columns": ()},
        {"columns": (Column(name="id", type="int64"), Column(name="id", type="string"))},
        {"parts": ()},
        {"rows": 3},
        {"name": "not an identifier"},
    ],
)
def test_manifest_that_is_not_consistent_is_refused(over):
    with pytest.raises(InvalidInputError):
        make_manifest(**over)


@pytest.mark.parametrize("name", ["../x.parquet", "part-1.parquet", "part-00000.parquet\n", ""])
def test_part_with_another_name_is_refused(name):
    with pytest.raises(InvalidInputError):
        Part(name=name, size_bytes=1, sha256=DIGEST, rows=1)


def test_manifest_survives_its_bytes():
    manifest = make_manifest()
    assert DatasetManifest.parse(to_json(manifest)) == manifest
