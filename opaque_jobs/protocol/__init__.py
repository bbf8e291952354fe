"""What crosses a wire: the coordinator's operations, the enclave's messages, the files of a result."""
