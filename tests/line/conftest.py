"""What most tests of the line need."""

import pytest

from lineside.store.open import open_store


@pytest.fixture
def store(tmp_path):
    engine = open_store(tmp_path / "line.db")
    yield engine
    engine.dispose()
