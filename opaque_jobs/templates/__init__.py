"""The no-code catalogue: an open, versioned, testable format, and the templates that come with the product."""

from pathlib import Path
from typing import Final

__all__ = ["BUILT_IN"]

BUILT_IN: Final = Path(__file__).parent / "catalogue"
"""Folder of the templates that come with the product."""
