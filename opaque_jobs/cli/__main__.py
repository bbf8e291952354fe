"""`python -m opaque_jobs.cli`: the same program, for children that must run the same interpreter."""

from opaque_jobs.cli.main import run

run()
