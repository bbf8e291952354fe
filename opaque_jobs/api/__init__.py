"""The coordinator's HTTP API: documents, authentication and routes over the services."""
