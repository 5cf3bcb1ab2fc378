"""The build hook: a wheel with the compiled hot paths says for what it is, and without them installs anywhere."""

import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from support.building import SOURCES, CompileHotPaths, compile_beside, compile_quickly

ROOT = Path(__file__).parents[2]
BROKEN = "int PyInit__compiled(void) { return nonsense; }\n"


class Application:
    def __init__(self):
        self.warnings = []

    def display_warning(self, message):
        self.warnings.append(message)


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """The root of a package whose source is short and right; no setting of the environment counts."""
    for name in ("MSGLOG_PURE_PYTHON", "MSGLOG_REQUIRE_COMPILED"):
        monkeypatch.delenv(name, raising=False)
    root = tmp_path / "with a space"
    for source in SOURCES:
        (root / source).parent.mkdir(parents=True, exist_ok=True)
        (root / source).write_text("int nothing;\n")
    return root


@pytest.fixture
def compiles(tree):
    try:
        compile_beside(tree / SOURCES[0]).unlink()
    except (OSError, ValueError, subprocess.CalledProcessError):
        pytest.skip("nothing compiles here")


def _build(root, target="wheel", version="standard"):
    application = Application()
    hook = CompileHotPaths(str(root), {}, None, None, str(root), target, application)
    data = {"pure_python": True, "infer_tag": False, "force_include": {}}
    hook.initialize(version, data)
    return data, application.warnings


def _left(root):
    return sorted(str(path.relative_to(root)) for path in root.rglob("*.*") if path.suffix != ".c")


@pytest.mark.usefixtures("compiles")
def test_a_wheel_with_a_compiled_module_is_for_this_platform_and_python(tree):
    data, warnings = _build(tree)
    made = sorted(source.replace(".c", sysconfig.get_config_var("EXT_SUFFIX")) for source in SOURCES)
    assert sorted(data["force_include"].values()) == made
    assert all(Path(source).exists() for source in data["force_include"])
    assert (data["pure_python"], data["infer_tag"], warnings) == (False, True, [])
    assert _left(tree) == made


@pytest.mark.usefixtures("compiles")
@pytest.mark.parametrize("broken", [SOURCES[0], SOURCES[-1]])
def test_where_one_is_not_compiled_the_wheel_is_pure_and_says_what_the_compiler_said(tree, broken, monkeypatch):
    (tree / broken).write_text(BROKEN)
    data, (warning,) = _build(tree)
    assert data == {"pure_python": True, "infer_tag": False, "force_include": {}}
    assert warning.startswith("msglog is installed in pure Python: ")
    assert "nonsense" in warning
    assert _left(tree) == []
    monkeypatch.setenv("MSGLOG_REQUIRE_COMPILED", "1")
    with pytest.raises(subprocess.CalledProcessError) as caught:
        _build(tree)
    assert "nonsense" in caught.value.__notes__[0]


def test_every_source_is_built():
    assert sorted(SOURCES) == sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("msglog/**/_compiled*.c"))


@pytest.mark.usefixtures("compiles")
@pytest.mark.parametrize("source", SOURCES)
def test_where_anything_compiles_each_source_does(source, tmp_path):
    """An installation would go without it, and the tests of what it does be skipped."""
    copy = Path(shutil.copy(ROOT / source, tmp_path))
    for header in (ROOT / source).parent.glob("*.h"):
        shutil.copy(header, tmp_path)
    assert compile_quickly(copy).exists()


def test_without_a_compiler_the_wheel_is_pure(tree, monkeypatch):
    monkeypatch.setenv("PATH", str(tree))
    monkeypatch.setattr(sysconfig, "get_config_var", {"LDSHARED": "cc -shared", "EXT_SUFFIX": ".so"}.get)
    data, warnings = _build(tree)
    assert data["pure_python"]
    assert len(warnings) == 1
    assert _left(tree) == []


def test_what_is_asked_for_in_pure_python_compiles_nothing(tree, monkeypatch):
    monkeypatch.setenv("MSGLOG_PURE_PYTHON", "1")
    assert _build(tree) == ({"pure_python": True, "infer_tag": False, "force_include": {}}, [])
    assert _left(tree) == []


def test_a_source_distribution_compiles_nothing(tree):
    assert _build(tree, target="sdist")[1] == []
    assert _left(tree) == []
