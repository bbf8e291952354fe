"""Approved jobs on data that stays sealed. The layers are drawn in README.md."""
