"""What CONTRIBUTING and docstrings say of the whole package, held against its code."""

import ast
import re
import tomllib
from pathlib import Path

import dicom_series_preview

PACKAGE = Path(dicom_series_preview.__file__).parent
PROJECT = Path(__file__).parents[2]


def where(*names: str) -> set[str]:
    """The modules in which something of one of these names is called or read."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = getattr(node, "attr", None) or getattr(node, "id", None)
            if isinstance(node, ast.Attribute | ast.Name) and name in names:
                found.add(path.relative_to(PACKAGE).as_posix())
    return found


def test_the_environment_is_read_at_the_doors() -> None:
    """`os.environ` is looked at where somebody comes in, and nowhere else; functions do so in one place."""
    assert where("environ", "getenv") == {
        *("doors/python/archive.py", "doors/python/series.py", "doors/aws/environment.py"),
        *(
            f"doors/cli/{name}.py"
            for name in (
                *("catalogue", "commands", "console", "converting", "fleets", "judging"),
                *("opening", "serve", "several", "volumes"),
            )
        ),
    }


def test_threads_are_started_in_few_places() -> None:
    """Threads are started where CONTRIBUTING says, besides the one that ends the program."""
    starts = where("ThreadPoolExecutor", "Thread") - {"doors/cli/stopping.py"}
    assert starts == {
        *("sources/storage/pool.py", "pixels/stream.py", "archive/catalogue/update.py"),
        *("doors/aws/catalogue.py", "doors/aws/updates.py", "doors/server/lanes.py", "doors/cli/building.py"),
        *("products/volumes/slabs.py", "products/volumes/upload.py"),
    }
    text = (PROJECT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = text.partition("Threads are started")[2].partition("`Storage.fetch`")[0]
    assert {f"{name.replace('.', '/')}.py" for name in re.findall(r"`([a-z.]+)`", named)} == starts


def test_nothing_cites_what_is_not_there() -> None:
    """A Markdown file that code, tests or pages name is one of the repository."""
    files = [
        path
        for folder in ("shared", "tests", "benchmarks", "layers", "functions", "docs")
        for path in (PROJECT / folder).rglob("*")
        if path.suffix in {".py", ".md", ".mk"}
    ]
    known = {path.name for path in (*PROJECT.glob("*.md"), *(PROJECT / "docs").rglob("*.md"))}
    cited = {
        (path.relative_to(PROJECT).as_posix(), name)
        for path in files
        for name in re.findall(r"\b([A-Z][A-Z-]+\.md)\b", path.read_text(encoding="utf-8"))
    }
    assert not {(path, name) for path, name in cited if name not in known}


def test_contributing_lists_the_floors_in_their_order() -> None:
    """The list of floors is the linter's order, from the doors down."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    contract = project["tool"]["importlinter"]["contracts"][0]
    text = (PROJECT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    block = text.partition("```\ndoors/")[2].partition("```")[0]
    listed = re.findall(r"^([a-z]+)/ ", f"doors/{block}", re.MULTILINE)
    assert ["__main__", *listed] == contract["layers"]


def test_no_modules_import_each_other_in_a_circle() -> None:
    """No module leads back to itself by imports, those of types among them."""
    paths = {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in PACKAGE.rglob("*.py")
    }
    imports = {name: _imported(path) & paths.keys() - {name} for name, path in paths.items()}
    while leaves := {name for name, targets in imports.items() if not targets}:
        imports = {name: targets - leaves for name, targets in imports.items() if name not in leaves}
    assert not imports


def _imported(path: Path) -> set[str]:
    """The modules of the package that a module names in its imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dicom_series_preview."):
            module = (node.module or "").removeprefix("dicom_series_preview.")
            found |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return found
