"""The enclave's root file system: built once from a hash-locked list, measured, checked at every start."""

from opaque_jobs.enclave.runtime.build import Progress, Runtime, ensure_runtime, find_runtime
from opaque_jobs.enclave.runtime.measurement import check_tree, verify_tree

__all__ = ["Progress", "Runtime", "check_tree", "ensure_runtime", "find_runtime", "verify_tree"]
