"""`python -m opaque_jobs.enclave.agent`: the enclave's main process."""

from opaque_jobs.enclave.agent.run import main

main()
