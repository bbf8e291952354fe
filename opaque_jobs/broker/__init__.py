"""One organisation's key broker."""
