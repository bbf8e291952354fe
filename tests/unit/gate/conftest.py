import warnings

with warnings.catch_warnings():
    # PySpark's client warns at import about the host's pandas, which neither the gate nor the enclave uses.
    warnings.simplefilter("ignore", FutureWarning)
    import pyspark.sql.connect.proto  # noqa: F401
