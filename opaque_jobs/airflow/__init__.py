"""What Airflow loads."""
