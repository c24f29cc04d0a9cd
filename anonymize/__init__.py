"""From a hospital's records to a published, de-identified Parquet dataset. Start reading at `pipeline.py`."""

__version__ = "0.1.0"
