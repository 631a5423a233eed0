"""Makes pages of the documentation from what is written elsewhere: README, CHANGELOG, defaults and docstrings.

MkDocs calls `on_files` before it builds; see mkdocs.yml.
"""

import ast
import functools
import io
import re
import tokenize
from html import unescape
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "pfgm_jax"
DEFAULTS = ("defaults.py", "defaults_of_use.py")
# Of names in those files that are not the names of their groups.
_GROUPS = {"config": "", "evaluation": "eval"}
# Commands are not called from Python; their --help explains them.
_NO_LIBRARY = ("pfgm_jax.commands",)
_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
_LINK = re.compile(r"\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files, config):
    """Adds the pages that are made."""
    from mkdocs.structure.files import File

    pages = {
        "index.md": of_root("README.md"),
        "changelog.md": of_root("CHANGELOG.md"),
        "reference/config.md": config_page(),
        "reference/api.md": "# API\n\n" + "\n".join(f"- [`{m}`]({m}.md)" for m in groups()) + "\n",
        **{f"reference/{name}.md": api_page(name, modules) for name, modules in groups().items()},
    }
    for path, content in pages.items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown, page, config, files):
    """Turns links to the code into links to its pages; what has no page is named only."""

    def link(found):
        text, target, anchor = found[1], found[2], found[3] or ""
        if not target.startswith("../"):
            return found[0]
        if target == "../README.md":
            return f"[{text}](index.md{anchor})"
        module = ".".join(Path(target.removeprefix("../")).with_suffix("").parts)
        first = ".".join(module.split(".")[:2])
        if target.endswith(".py") and module in groups().get(first, []):
            return f"[{text}](reference/{first}.md#{module})"
        return f"{text} (`{target.removeprefix('../')}`)"

    # GitHub's way to write a formula on lines of its own.
    markdown = re.sub(r"```math\n(.*?)```", r"$$\n\1$$", markdown, flags=re.DOTALL)
    return markdown if page.file.generated_by else _LINK.sub(link, markdown)


def on_page_content(html, page, config, files):
    """Turns formulas into MathML, which browsers show by themselves."""
    from latex2mathml.converter import convert

    def formula(found):
        display = "block" if found[1] == "div" else "inline"
        return convert(unescape(found[2]), display=display)

    return _FORMULA.sub(formula, html)


def of_root(name: str) -> str:
    """Returns a page of the root folder whose links lead from docs; what has no page there is named only."""

    def link(found):
        text, target, anchor = found[1], found[2], found[3] or ""
        if re.match(r"https?:", target):
            return found[0]
        if target.startswith("docs/"):
            return f"[{text}]({target.removeprefix('docs/')}{anchor})"
        return {"CHANGELOG.md": "[the changes](changelog.md)"}.get(target, f"{text} (`{target}`)")

    return _LINK.sub(link, (ROOT / name).read_text())


def config_page() -> str:
    """Returns the reference of all fields, from the comments of the files that define them."""
    parts = [
        "# Config",
        "Every field, with its default, from `pfgm_jax/defaults.py` and `defaults_of_use.py`. To override it, give "
        "`--config.GROUP.FIELD=VALUE`. Lengths are in network units, in which images lie in [-1, 1].",
    ]
    for group, fields in fields_by_group().items():
        parts.append(f"## {group or 'the run'}\n\n| field | default | meaning |\n| --- | --- | --- |")
        for name, (default, meaning) in fields.items():
            escaped = meaning.replace("|", "\\|").replace("<", "&lt;")
            parts[-1] += f"\n| `{f'{group}.{name}'.lstrip('.')}` | `{default}` | {escaped} |"
    return "\n\n".join(parts) + "\n"


def fields_by_group() -> dict[str, dict[str, tuple[str, str]]]:
    """Returns the default and the meaning of each field, by group and name, as they are written."""
    found: dict[str, dict[str, tuple[str, str]]] = {}
    for name in DEFAULTS:
        source = (PACKAGE / name).read_text()
        comments = {
            token.start[0]: token.string.lstrip("# ")
            for token in tokenize.generate_tokens(io.StringIO(source).readline)
            if token.type == tokenize.COMMENT
        }
        for node in ast.walk(ast.parse(source)):
            if not isinstance(node, ast.FunctionDef):
                continue
            of_kind, taken = "", node.lineno
            for statement in node.body:
                target = statement.targets[0] if isinstance(statement, ast.Assign) else None
                if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name):
                    above = [comments[i] for i in range(taken + 1, statement.lineno) if i in comments]
                    # A comment that ends with a colon is the heading of the fields that follow.
                    for i, text in enumerate(above):
                        if text.endswith(":") and re.match(r"Of [^.;]*:$", text):
                            of_kind, above = text, above[i + 1 :]
                            break
                    beside = range(statement.lineno, (statement.end_lineno or statement.lineno) + 1)
                    meaning = " ".join([*above, *(comments[i] for i in beside if i in comments)])
                    value = ast.get_source_segment(source, statement.value) or ""
                    if found_reference := re.match(r"config_dict\.FieldReference\((.*), field_type=object\)", value):
                        value = found_reference[1]
                    told = f"{of_kind} {meaning}".strip()
                    group = _GROUPS.get(target.value.id, target.value.id)
                    found.setdefault(group, {})[target.attr] = (value, told)
                taken = statement.end_lineno or taken
    return found


@functools.cache
def groups() -> dict[str, list[str]]:
    """Returns the modules of the package, by their first name: a package of modules, or a module alone."""
    found: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[-1].startswith("__") and parts[-1] != "__init__":
            continue
        if any(part.startswith("_") and part != "__init__" for part in parts):
            continue
        name = ".".join(("pfgm_jax", *parts)).removesuffix(".__init__")
        first = ".".join(name.split(".")[:2])
        if first not in _NO_LIBRARY:
            found.setdefault(first, []).append(name)
    return found


def api_page(name: str, modules: list[str]) -> str:
    """Returns the page of a module or a package, whose docstrings mkdocstrings fills in."""
    return f"# {name}\n\n" + "\n\n".join(f"::: {module}" for module in modules) + "\n"
