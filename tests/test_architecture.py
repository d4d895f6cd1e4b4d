"""The house rules, as tests: what stays free of torch, how fast the door opens, what no file may be called."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from lineside.cli.main import VERBS

SRC = Path(__file__).parent.parent / "src" / "lineside"
FILES = sorted(SRC.rglob("*.py"))
BANNED = {"utils", "util", "misc", "common", "helpers", "core", "base", "manager", "tools", "factory"}
LEARNING = ("nets", "ledger", "learn", "explain")  # rooms that import torch
LEARNING_FILES = {  # and files of other rooms that do
    "bundle/ensemble.py",
    "bundle/export.py",
    "bundle/latency.py",
    "bundle/quantise.py",
    "tasks/classify/combine.py",
    "tasks/classify/fit.py",
    "tasks/classify/plan.py",
    "tasks/classify/make.py",
    "tasks/classify/soup.py",
}
DOORS = {"ledger/__init__.py": {"cost"}}  # rooms that other programs use as a library: what they are given
HEAVY = {"torch", "onnx", "onnxscript", "safetensors", "sklearn", "tensorboard"}


def place(path: Path) -> str:
    return path.relative_to(SRC).as_posix()


RUNNING = [p for p in FILES if not place(p).startswith(LEARNING) and place(p) not in LEARNING_FILES]


def imported(tree: ast.Module, top_only: bool) -> set[str]:
    """Packages that the file imports; top_only: outside functions, so at import time."""
    found: set[str] = set()
    nodes = list(tree.body) if top_only else list(ast.walk(tree))
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("path", FILES, ids=place)
def test_files_are_named_for_what_they_hold(path):
    assert path.stem not in BANNED, f"{path}: name it for what it holds"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), f"{path}: the head of a file is its map"


@pytest.mark.parametrize("path", FILES, ids=place)
def test_what_would_call_home_is_imported_by_one_file(path):
    """bundle/quantise.py asks that file first; that nothing is left at home, tests/bundle/test_engine.py sees."""
    if place(path) not in ("no_telemetry.py", "bundle/quantise.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert not imported(tree, top_only=False) & {"onnxruntime", "openvino"}


@pytest.mark.parametrize("path", [p for p in FILES if p.name == "__init__.py"], ids=place)
def test_an_init_holds_a_docstring_and_no_imports(path):
    found = imported(ast.parse(path.read_text(encoding="utf-8")), top_only=False)
    assert found == ({"lineside"} if place(path) in DOORS else set())


@pytest.mark.parametrize("door", DOORS)
def test_nobody_here_goes_through_a_door_that_is_for_users(door):
    """`from lineside.ledger import cost` is for other programs; here it is lineside.ledger.cost."""
    package = "lineside." + door.removesuffix("/__init__.py").replace("/", ".")
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == package:
                assert not {alias.name for alias in node.names} & DOORS[door], path


@pytest.mark.parametrize("path", FILES, ids=place)
def test_nothing_is_unpickled(path):
    """No call into pickle or its kin (naming pickle's exceptions is fine); torch.load reads tensors only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not imported(tree, top_only=False) & {"cPickle", "dill", "joblib", "shelve", "marshal"}
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name, given = ast.unparse(call.func), {k.arg: ast.unparse(k.value) for k in call.keywords}
        assert not name.startswith("pickle."), f"{path}: {name}"
        assert name != "torch.load" or given.get("weights_only") == "True", f"{path}: {name}"
        assert name != "np.load" or given.get("allow_pickle", "False") == "False", f"{path}: {name}"


def test_the_running_half_loads_without_the_learning_half():
    """In a fresh process where importing torch and its company fails, every module of the running half loads."""
    modules = [
        "lineside." + place(p).removesuffix(".py").replace("/", ".").removesuffix(".__init__")
        for p in RUNNING
        if p.name != "__main__.py" and "nuts" not in p.parts
    ]
    code = (
        "import sys, importlib\n"
        f"for name in {sorted(HEAVY)!r}: sys.modules[name] = None\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_imports_nothing_heavy(verb):
    """`lineside VERB --help` answers from argparse alone: no numpy, torch, onnxruntime, rich or matplotlib."""
    code = (
        "import sys\nfrom lineside.cli.main import main\n"
        f"try: main({[verb, '--help'] if verb else ['--help']!r})\nexcept SystemExit as end: assert not end.code\n"
        "heavy = {'numpy', 'scipy', 'torch', 'onnxruntime', 'rich', 'sqlalchemy', 'PIL'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "usage: lineside" in done.stdout
