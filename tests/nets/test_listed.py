"""What `lineside nets` prints without torch is what the rows say."""

import subprocess
import sys

from lineside.nets.catalog import NETS, SIGNALS
from lineside.nets.listing import nets
from tests.nets import listed


def test_the_file_is_what_the_rows_say():
    assert listed.FILE.read_text("utf-8") == listed.text(), "run: python -m tests.nets.listed"
    assert [one.name for one in nets()] == sorted([*NETS, *SIGNALS])
    assert [one.name for one in nets(reads="signals")] == sorted(SIGNALS)


def test_the_list_is_there_without_torch_and_without_the_learning_half():
    code = (
        "import sys\n"
        "for name in ('torch', 'safetensors', 'filelock', 'numpy', 'onnx'): sys.modules[name] = None\n"
        "from lineside.cli.main import main\n"
        "sys.exit(main(['nets', 'resnet*', '--sort', 'params']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "resnet50" in done.stdout
    assert "25.557" in done.stdout
