"""`opaque-jobs runtime`: the enclave's own environment, whose digest members approve."""

from opaque_jobs.cli.command import Noun, common, load_settings
from opaque_jobs.cli.output import print_record
from opaque_jobs.cli.progress import counting, step
from opaque_jobs.enclave.runtime import ensure_runtime, find_runtime, verify_tree
from opaque_jobs.errors import NotFoundError

__all__ = ["app"]

app = Noun(help="The enclave's runtime: built from a hash-locked list, measured, read-only in the sandbox.")


@app.command("build")
def build() -> None:
    """Build the runtime if it is not there; fetches about 600 MB the first time."""
    settings = load_settings()
    with step("building the enclave's runtime") as shown:
        runtime = ensure_runtime(settings, shown.say)
    print_record({"root": str(runtime.root), "measurement": runtime.measurement}, as_json=common().json)


@app.command("show")
def show() -> None:
    """Show the runtime's digest, after a quick check."""
    runtime = find_runtime(load_settings())
    if runtime is None:
        raise NotFoundError("the enclave's runtime is not built", hint="run 'opaque-jobs runtime build'")
    print_record({"root": str(runtime.root), "measurement": runtime.measurement}, as_json=common().json)


@app.command("verify")
def verify() -> None:
    """Hash every file of the runtime again and compare."""
    runtime = find_runtime(load_settings())
    if runtime is None:
        raise NotFoundError("the enclave's runtime is not built", hint="run 'opaque-jobs runtime build'")
    with counting("verifying the runtime", None):
        measurement = verify_tree(runtime.root.parent)
    print_record({"root": str(runtime.root), "measurement": measurement, "verified": True}, as_json=common().json)
