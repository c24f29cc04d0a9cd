"""Before the first start: who may log in, the store's bucket, and the made-up hospital to try the road on. May run again at any start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from pyarrow.fs import S3FileSystem

USERS = ("admin", "steward", "deputy", "researcher")


def write_passwords(file: Path) -> None:
    """The passwords of the deployment's users, from the environment: none is made up, and none is printed."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch(mode=0o600)
    file.write_text(json.dumps({user: os.environ[f"AIRFLOW_{user.upper()}_PASSWORD"] for user in USERS}) + "\n")


def make_bucket(endpoint: str, bucket: str) -> None:
    """The bucket of the research store, where it is not there yet. Credentials: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."""
    store = S3FileSystem(endpoint_override=endpoint, scheme="http", region="us-east-1", allow_bucket_creation=True)
    store.create_dir(bucket, recursive=False)


def make_sample(folder: Path) -> None:
    """The sample hospital, once."""
    if not (folder / "ehr.db").exists():
        subprocess.run(["anonymize", "sample", str(folder)], check=True)  # noqa: S603, S607


def main() -> int:
    write_passwords(Path(os.environ["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"]))
    make_bucket(os.environ["S3_ENDPOINT"], os.environ["S3_BUCKET"])
    make_sample(Path(os.environ["ANONYMIZE_SAMPLE"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
