"""Which version of a data set one run may read: the approved one, or a newer one where the approved terms follow refreshes."""

from dataclasses import replace

from opaque_jobs.domain.dataset import DatasetManifest
from opaque_jobs.domain.job import DatasetUse, JobSpec

__all__ = ["use_with"]


def use_with(spec: JobSpec, use: DatasetUse, manifest: DatasetManifest) -> DatasetUse | None:
    """Give a data set's use as it is for a run that reads this version; None if the members' approval does not cover it.

    A newer version is covered if the terms follow the data set, and owner, every column and type, and the commitment to what is
    released are the same: what members judged stays true. Who signed the manifest is not looked at here.
    """
    about = (manifest.dataset_id, manifest.organisation_id, manifest.policy_commitment)
    if about != (use.dataset_id, use.organisation_id, use.policy_commitment):
        return None
    if (manifest.digest, manifest.dataset_version) == (use.manifest_digest, use.dataset_version):
        return use
    newer = use.alias in spec.rerun_terms.follows and manifest.dataset_version > use.dataset_version
    if not newer or manifest.schema_digest != use.schema_digest:
        return None
    return replace(use, dataset_version=manifest.dataset_version, manifest_digest=manifest.digest)
