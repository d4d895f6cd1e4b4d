"""Stores to test with: a file, a database of a real server, and each by turns."""

import pytest

from lineside.store.open import open_store
from tests.store.postgres import Postgres, needs_postgresql


@pytest.fixture(scope="module")
def server():
    server = Postgres().start()
    yield server
    server.remove()


@pytest.fixture
def url(server):
    """An empty database."""
    engine = open_store(server.url)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("DROP DATABASE IF EXISTS one WITH (FORCE)")
        connection.exec_driver_sql("CREATE DATABASE one")
    engine.dispose()
    return server.url.replace("/postgres", "/one")


@pytest.fixture
def store(tmp_path):
    engine = open_store(tmp_path / "line.db")
    yield engine
    engine.dispose()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=[needs_postgresql, pytest.mark.slow])])
def each_store(request, tmp_path):
    """A store of each kind, by turns."""
    engine = open_store(tmp_path / "line.db" if request.param == "sqlite" else request.getfixturevalue("url"))
    yield engine
    engine.dispose()
