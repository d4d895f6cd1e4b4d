"""The plant's parts, each a process of its own, stopped by its pid."""

import pytest

from tests.faults.shop import consuming, opened
from tests.line.broker import Mosquitto
from tests.line.gate.doubles import plc as plc_double


@pytest.fixture
def shop(tmp_path):
    with opened(tmp_path) as shop:
        yield shop


@pytest.fixture
def broker(tmp_path):
    broker = Mosquitto(tmp_path).start()
    yield broker
    broker.stop()


@pytest.fixture
def consumer(broker, tmp_path):
    with consuming(broker.port, tmp_path) as consumer:
        yield consumer


@pytest.fixture
def plc(tmp_path):
    with plc_double(tmp_path) as plc:
        yield plc
