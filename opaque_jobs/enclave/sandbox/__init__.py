"""The wall around a run: what a sandbox is, and the one that needs nothing but bubblewrap."""

from opaque_jobs.enclave.sandbox.base import Ending, Limits, Mount, RunningSandbox, Sandbox, SandboxSpec
from opaque_jobs.enclave.sandbox.bubblewrap import BubblewrapSandbox

__all__ = ["BubblewrapSandbox", "Ending", "Limits", "Mount", "RunningSandbox", "Sandbox", "SandboxSpec"]
