"""The no-code catalogue."""
