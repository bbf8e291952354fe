"""Use cases: the only writers of the store."""
