"""Which versions an approval covers: the named one, or a newer one of a followed data set that is the same in all else."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from opaque_jobs.domain.dataset import Column
from opaque_jobs.domain.refresh import use_with
from tests.world import World

WORLD = World()
USE = WORLD.hospital.use(dataset_version=3, manifest_digest=WORLD.hospital.manifest(dataset_version=3).digest)
COLUMNS = WORLD.hospital.manifest().columns
SPEC = WORLD.make_spec(datasets=(USE,))
FOLLOWING = replace(SPEC, rerun_terms=replace(SPEC.rerun_terms, follows=(USE.alias,)))
SCHEMAS = st.sampled_from(
    [
        COLUMNS,
        COLUMNS[::-1],
        COLUMNS[:-1],
        (*COLUMNS, Column(name="more", type="int64")),
        (Column(name=COLUMNS[0].name, type="string"), *COLUMNS[1:]),
        (Column(name="other", type=COLUMNS[0].type), *COLUMNS[1:]),
    ]
)


@given(
    follows=st.booleans(),
    version=st.integers(1, 6),
    columns=SCHEMAS,
    about=st.tuples(st.sampled_from([USE.dataset_id, "ds-other"]), st.sampled_from([USE.organisation_id, "org-other"])),
    policy=st.sampled_from([USE.policy_commitment, "sha256:" + "44" * 32]),
    created_at=st.sampled_from(["2026-01-15T12:00:00+00:00", "2026-01-16T12:00:00+00:00"]),
)
def test_version_is_covered_only_if_named_or_newer_and_the_same_in_all_else(
    *, follows, version, columns, about, policy, created_at
):
    manifest = WORLD.hospital.manifest(
        dataset_version=version,
        columns=columns,
        dataset_id=about[0],
        organisation_id=about[1],
        policy_commitment=policy,
        created_at=created_at,
    )
    found = use_with(FOLLOWING if follows else SPEC, USE, manifest)
    named = manifest.digest == USE.manifest_digest
    same = (columns, about, policy) == (COLUMNS, (USE.dataset_id, USE.organisation_id), USE.policy_commitment)
    newer = follows and version > 3 and same
    assert (found is not None) is (named or newer)
    if found is not None:
        assert (found.dataset_version, found.manifest_digest) == (version, manifest.digest)
        assert replace(found, dataset_version=3, manifest_digest=USE.manifest_digest) == USE
