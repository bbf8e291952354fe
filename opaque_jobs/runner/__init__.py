"""One run from the host's side: what the enclave needs is assembled, it runs, its receipt is checked, its result is kept."""
