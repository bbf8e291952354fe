"""What Airflow's provider manager asks for. It is loaded while Airflow itself is being imported, so it imports nothing of it."""

from typing import Any

__all__ = ["get_provider_info"]


def get_provider_info() -> dict[str, Any]:
    """Give the provider metadata (schema: airflow/provider_info.schema.json)."""
    return {
        "package-name": "opaque-jobs",
        "name": "Opaque Jobs",
        "description": "Jobs approved by every member, run on data that stays sealed.",
        "operators": [
            {"integration-name": "Opaque Jobs", "python-modules": ["opaque_jobs.airflow.operator"]},
        ],
        "sensors": [{"integration-name": "Opaque Jobs", "python-modules": ["opaque_jobs.airflow.gate"]}],
        "triggers": [{"integration-name": "Opaque Jobs", "python-modules": ["opaque_jobs.airflow.gate"]}],
        "integrations": [
            {"integration-name": "Opaque Jobs", "external-doc-url": "https://pypi.org/project/opaque-jobs/", "tags": ["software"]}
        ],
        "config": {
            "opaque_jobs": {
                "description": "Options of opaque-jobs.",
                "options": {
                    "dag_template": {
                        "description": "Shape of the generated DAGs: a name of the entry-point group opaque_jobs.dag_templates.",
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "plain",
                        "default": "plain",
                    }
                },
            }
        },
    }
