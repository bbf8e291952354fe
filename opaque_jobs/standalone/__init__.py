"""Everything on one machine: the processes of `opaque-jobs up`, and what keeps them."""
