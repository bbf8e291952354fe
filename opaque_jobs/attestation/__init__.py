"""Evidence, its verifiers and the result they give."""
