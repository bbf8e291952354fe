"""`python -m opaque_jobs.enclave.agent`: the enclave's first process, and its child, which is the agent."""

from opaque_jobs.enclave.agent.guard import guarded


def agent() -> None:
    """Load the agent only here: the guard is small, and forked before there are threads."""
    from opaque_jobs.enclave.agent.run import main  # noqa: PLC0415 - see above

    main()


guarded(agent)
