"""Where ciphertext, test data and sealed results are kept: a folder, or any address that fsspec knows. Not trusted with anything.

Everything is by key, such as `results/<run>/part-00000.parquet`. Trust: what is read may be anything; readers verify it against a
signed digest before they use it.
"""

from opaque_jobs.storage.base import Storage
from opaque_jobs.storage.opening import open_storage

__all__ = ["Storage", "open_storage"]
