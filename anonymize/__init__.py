"""From a hospital's records to a published, de-identified Parquet dataset. Start reading at `pipeline.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anonymize.publish.opening import open_dataset

__all__ = ["__version__", "open_dataset"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`open_dataset` when it is first asked for: `import anonymize` alone loads nothing."""
    if name == "open_dataset":
        from anonymize.publish.opening import open_dataset

        return open_dataset
    raise AttributeError(f"module 'anonymize' has no attribute '{name}'")
