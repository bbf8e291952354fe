"""Keys, sealing, signing and encrypted Parquet."""
