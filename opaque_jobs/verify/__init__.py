"""Verifying what others are given: receipts and evidence. No database, no Airflow, no web: anyone can do it."""
