"""From files of any kind to encrypted Parquet, and to test data that stands in for them."""
