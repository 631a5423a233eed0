"""The structure of the code: imports lead downwards, functions and files are short, methods keep their fields."""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path("pfgm_jax")
SOURCES = [*PACKAGE.rglob("*.py"), Path("main.py"), Path("run_lib.py"), *Path("configs").glob("*.py")]
ALL = [*SOURCES, *Path("tests").glob("*.py"), *Path("benchmarks").glob("*.py")]

# From the bottom up. A module imports from the layers below its own, and within its layer without cycles.
LAYERS = [
    ["cpu_kernels", "errors", "context", "keys", "version"],
    ["ranges", "registry", "folders", "sharding"],
    ["reading"],
    ["executables", "kept_steps", "locks", "seals"],
    [
        "defaults",
        "defaults_of_use",
        "diary",
        "downloads",
        "interruption",
        "kept_steps",
        "pictures",
        "progress",
        "torch_pickle",
        "torch_file",
        "field",
        "partial_means",
    ],
    ["datasets", "models", "plots", "quantization", "charts"],
    ["methods", "arguments"],
    ["samplers", "charges", "restoration"],
    ["sampling", "latents", "likelihood", "pieces"],
    ["config_fields"],
    ["config_files", "training.profiles", "training.state", "training.overfitting", "training.writers", "metrics"],
    ["config_ranges", "config_conflicts", "training.wandb_writer"],
    ["build", "checkpoints", "exports", "pages"],
    ["config_data", "config", "given", "generator", "records", "restorer", "bound_model", "schedules"],
    ["trained_model", "loading", "training.losses", "training.step", "training.requests", "training.callbacks"],
    ["training.loop", "training"],
    [
        "workdir",
        "evaluation",
        "calibration",
        "convert",
        "curves",
        "robustness",
        "averaging",
        "reports",
        "results",
        "measured_images",
    ],
    ["restoring"],
    ["run_lib", ""],
    ["commands"],
    ["__main__", "datasets.__main__", "metrics.__main__", "convert.__main__"],
]


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").rstrip(".")


MODULES = {module_of(path): path for path in PACKAGE.rglob("*.py")}


def layer_of(module: str) -> int:
    names = [module, module.split(".")[0]]
    return next(i for name in names for i, layer in enumerate(LAYERS) if name in layer)


def imports_of(path: Path) -> set[str]:
    """Modules of the package that a file imports, also within functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "pfgm_jax":
                inner = ".".join(parts[1:])
                found.add(inner if inner in MODULES else ".".join(parts[1:-1]))
    return found


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_module_imports_downwards(module):
    for imported in imports_of(MODULES[module]):
        assert layer_of(imported) <= layer_of(module), f"{module} imports {imported}, which is above it"


def test_modules_do_not_import_each_other_in_circles():
    waiting = {module: imports_of(path) - {module} for module, path in MODULES.items()}
    while ready := [module for module, imported in waiting.items() if not imported & waiting.keys()]:
        for module in ready:
            del waiting[module]
    assert not waiting


def test_writers_know_no_likelihoods_and_networks_no_methods():
    assert not imports_of(MODULES["training.writers"]) & {"likelihood", "evaluation"}
    for module in MODULES:
        if module.split(".")[0] == "models":
            assert not any(name.split(".")[0] == "methods" for name in imports_of(MODULES[module])), module


@pytest.mark.parametrize("library", ["diffrax", "orbax"])
def test_one_file_knows_a_library(library):
    users = [path for path in SOURCES if re.search(rf"^\s*(import|from) {library}\b", path.read_text(), re.M)]
    assert users == [PACKAGE / {"diffrax": "samplers/adaptive.py", "orbax": "checkpoints.py"}[library]]


@pytest.mark.parametrize("path", ALL, ids=str)
def test_files_and_functions_are_short(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, node.name


# Attributes and config fields of PFGM alone.
OF_PFGM = ("z_max", "z_min", "z_exp", "upper_norm", "restrict_M", "exact_substitution", "drift_epsilon", "tau")


@pytest.mark.parametrize(
    "path", [p for p in SOURCES if p.parts[:2] != ("pfgm_jax", "methods") and p.parts[0] != "configs"], ids=str
)
def test_fields_of_a_method_are_named_in_methods_alone(path):
    if path in (PACKAGE / "defaults.py", PACKAGE / "defaults_of_use.py"):  # which explains them
        return
    text = path.read_text()
    for field in OF_PFGM:
        assert not re.search(rf"\.{field}\b|[\"']{field}[\"']", text), field
    assert not re.search(r"\bsde (==|!=) |hasattr\(\w*method|isinstance\(\w*method, Poisson", text)
