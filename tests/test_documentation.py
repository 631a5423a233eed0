"""What the pages of the documentation are made from: every field of a config, every public module, links."""

import importlib.util
from pathlib import Path

import pytest

from pfgm_jax import config_files, defaults
from pfgm_jax.registry import METHODS, MODELS, OPERATORS, RULES, SAMPLERS


@pytest.fixture(scope="module")
def pages():
    spec = importlib.util.spec_from_file_location("pages", "docs/_pages.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_field_is_explained_with_its_default(pages):
    written = {
        f"{group}.{name}".lstrip("."): field
        for group, fields in pages.fields_by_group().items()
        for name, field in fields.items()
    }
    values = config_files.flat(defaults.get_config().to_dict())
    assert set(written) <= set(values)
    own = {
        f for registry in (METHODS, SAMPLERS, OPERATORS, RULES) for k in registry for f in registry[k].fields.values()
    }
    own |= {f"model.{name}" for k in MODELS for name in MODELS[k].attributes()}
    assert set(values) - set(written) <= own
    for name, (default, meaning) in written.items():
        assert len(meaning) > 3 and eval(default) == values[name], name
    assert written["training.tau"][1] == "growth of the perturbation from one exponent to the next; in (0, 1]"
    assert written["data.image_size"][1] == "Pixels: the side of a square, or (height, width); 0: from the data."
    assert written["sampling.eps"][1].startswith("Of all methods but PFGM: time where sampling ends; 0:")
    assert "Of pc: euler_maruyama, reverse_diffusion," in written["sampling.predictor"][1]


def test_every_public_module_has_a_page(pages):
    listed = {module for modules in pages.groups().values() for module in modules}
    files = [path.with_suffix("") for path in Path("pfgm_jax").rglob("*.py") if "commands" not in path.parts]
    names = {".".join(path.parts).removesuffix(".__init__") for path in files if path.name != "__main__"}
    assert listed == names
    assert "::: pfgm_jax.methods.poisson\n" in pages.api_page("pfgm_jax.methods", pages.groups()["pfgm_jax.methods"])


def test_links_of_the_readme_lead_to_pages(pages):
    page = pages.of_root("README.md")
    assert "](docs/" not in page and "![Field lines of a heart, and samples](field.png)" in page
    for _, target, _ in pages._LINK.findall(page):
        assert target.startswith("https://") or Path("docs", target).exists() or target == "changelog.md", target
