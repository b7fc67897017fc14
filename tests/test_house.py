"""The house rules that a machine can hold: imports go down, files stay short, nothing unpickles, documents' code runs."""
import ast
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
FILES = sorted((ROOT / "tinyseg").rglob("*.py"))


def floors():
    """{"kernels": 0, …} from the table in docs/architecture.md."""
    rows = re.findall(r"^\| (\d) \| (.+?) \|", (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"), re.M)
    return {name.removesuffix(".py").strip("/"): int(floor) for floor, names in rows for name in re.findall(r"`(.+?)`", names)}


def imports(path):
    """The rooms of tinyseg that a file imports from, wherever in it."""
    package = ("tinyseg", *path.relative_to(ROOT / "tinyseg").parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            base = package[:len(package) - node.level + 1] if node.level else ()
            names = [".".join((*base, *filter(None, [node.module]), alias.name)) for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        yield from (name.split(".")[1] for name in names if name.startswith("tinyseg."))


def test_every_room_stands_in_the_table():
    rooms = {path.relative_to(ROOT / "tinyseg").parts[0].removesuffix(".py") for path in FILES} - {"__init__"}
    assert rooms == set(floors())


@pytest.mark.parametrize("path", [p for p in FILES if p != ROOT / "tinyseg" / "__init__.py"],
                         ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down(path):
    table = floors()
    here = path.relative_to(ROOT / "tinyseg").parts[0].removesuffix(".py")
    upward = {room for room in imports(path) if room in table and table[room] > table[here]}
    assert not upward, f"{here} (floor {table[here]}) imports {upward}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_are_short_and_unpickle_nothing(path):
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 320
    assert not re.search(r"^\s*(import|from) (pickle|dill|joblib|shelve)\b|allow_pickle=True", text, re.M)


@pytest.mark.parametrize("path", sorted((ROOT / "tinyseg" / "kernels").glob("*.py")), ids=lambda path: path.name)
def test_what_only_kernels_call_is_compiled_with_them(path):
    assert not re.search(r"^@njit(?!.*nogil=True)", path.read_text(encoding="utf-8"), re.M), "expected @inner"


def test_import_is_light():
    code = ("import sys, tinyseg; heavy = {'matplotlib', 'PIL', 'torch', 'tqdm', 'scipy'} & set(sys.modules); "
            "sys.exit(f'import tinyseg loads {heavy}' if heavy else 0)")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_readmes_python_runs():
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)
    namespace = {}
    exec(blocks[0], namespace)
    assert namespace["x"].grad.shape == (1, 3, 64, 64) and namespace["w"].grad.shape == (8, 3, 3, 3)


def test_links_between_documents_lead_somewhere():
    for document in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8")):
            assert (document.parent / link).exists(), f"{document.name} links to {link}"


def test_the_op_of_the_guide_works_as_it_stands():
    from tinyseg.op import REGISTRY
    text = (ROOT / "docs" / "adding_an_op.md").read_text(encoding="utf-8")
    namespace = {}
    try:
        exec(re.findall(r"```python\n(.*?)```", text, re.S)[0], namespace)
        from tinyseg.gradcheck import main_table
        table, ok = main_table(["softplus"])
        assert ok and "softplus" in table
    finally:
        REGISTRY.pop("softplus", None)
