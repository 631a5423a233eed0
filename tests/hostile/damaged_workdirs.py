"""A run's config, metrics, locks, samples, evaluations, likelihoods and caches, damaged."""

import json
import shutil
from pathlib import Path

from tests.hostile.damaged_checkpoints import append, empty, flip, to_folder, to_loop, truncate
from tests.hostile.damaged_run import USES, Damage, everywhere

READS = {"load": "config.json", **dict.fromkeys(USES, "config.json")}


def _write(name: str, content: bytes):
    return lambda run: (run / name).write_bytes(content)


def _at(name: str, act):
    """Damages the first file of a name."""
    return lambda run: act(sorted(run.glob(name))[0])


def _in_config(**fields):
    def act(run: Path) -> None:
        content = json.loads((run / "config.json").read_text())
        for group, values in fields.items():
            content[group] = {**content[group], **values} if isinstance(values, dict) else values
        (run / "config.json").write_text(json.dumps(content))

    return act


def _without_group(group: str):
    def act(run: Path) -> None:
        content = json.loads((run / "config.json").read_text())
        del content[group]
        (run / "config.json").write_text(json.dumps(content))

    return act


def _configs() -> list[Damage]:
    damaged = everywhere("config.json")
    contents = {
        "emptied": b"",
        "null": b"null",
        "a list": b"[]",
        "of no fields": b"{}",
        "not UTF-8": b"\xff\xfe{}",
        "of zeros": b"\0" * 4096,
        "nested a million deep": b"[" * 1_000_000,
        "of groups that are numbers": b'{"data": 1, "training": 2, "sampling": 3, "model": 4, "optim": 5}',
    }
    found = [Damage(f"config.json {how}", _write("config.json", content), damaged) for how, content in contents.items()]
    return [
        *found,
        Damage("config.json cut in half", _at("config.json", truncate), damaged),
        Damage("config.json without a group", _without_group("model"), damaged),
        Damage("config.json a folder", _at("config.json", to_folder), {**damaged, "load": "config.json"}),
        Damage("config.json a loop", _at("config.json", to_loop), {**damaged, "load": "run"}),
        Damage(
            "config.json removed", _at("config.json", Path.unlink), {**dict.fromkeys(("load", *USES), "holds no run")}
        ),
        Damage(
            "config.json of another network",
            _in_config(model={"nf": 32}),
            {**everywhere("model.nf"), "load": "config.json"},
        ),
    ]


def _files() -> list[Damage]:
    kept, refused = "checkpoints/kept.json", {"train": "kept.json"}
    holder = lambda run: (run / ".lock.holder").mkdir()
    return [
        Damage("kept.json emptied", _write(kept, b""), refused, ()),
        Damage("kept.json flipped", _at(kept, flip), refused, ()),
        Damage("kept.json of words", _write(kept, b'["six"]'), refused, ()),
        Damage("kept.json an object", _write(kept, b'{"6": true}'), refused, ()),
        Damage("kept.json removed", _at(kept, Path.unlink), {}, ()),
        Damage("kept.json of steps that are gone", _write(kept, b"[1, 2]"), {}, ()),
        Damage("metrics.jsonl removed", _at("metrics.jsonl", Path.unlink), {}, ()),
        Damage("metrics.jsonl emptied", _at("metrics.jsonl", empty), {}, ()),
        Damage("metrics.jsonl cut in half", _at("metrics.jsonl", truncate), {}, ()),
        Damage("metrics.jsonl flipped", _at("metrics.jsonl", flip), {}, ()),
        Damage("metrics.jsonl not UTF-8", _write("metrics.jsonl", b"\xff\xfe\n"), {}, ()),
        Damage(
            "metrics.jsonl of other things", _write("metrics.jsonl", b'null\n{"loss": 1}\n[]\n{"step": "x"}\n'), {}, ()
        ),
        Damage(
            "metrics.jsonl a folder", _at("metrics.jsonl", to_folder), {**everywhere("metrics.jsonl"), "load": "same"}
        ),
        Damage("a lock that a killed run left", _write(".lock", b""), {}, ()),
        Damage("a note of who holds the lock that is garbage", _write(".lock.holder", b"\xff"), {}, ()),
        Damage("a folder in the place of that note", holder, {}, ()),
        Damage(
            "a folder in the place of the lock",
            lambda run: ((run / ".lock").unlink(missing_ok=True), (run / ".lock").mkdir())[1],
            {},
            (),
        ),
        Damage("events of TensorBoard cut in half", _at("tensorboard/*", truncate), {}, ("evaluate",)),
        Damage("no events of TensorBoard", lambda run: shutil.rmtree(run / "tensorboard"), {}, ("evaluate",)),
        Damage("a link in the workdir that leads back to it", lambda run: (run / "self").symlink_to(run), {}),
    ]


def _results() -> list[Damage]:
    hows = {"flipped": flip, "cut in half": truncate, "emptied": empty, "removed": Path.unlink, "appended to": append}
    piece = "samples/6-euler/pieces/00000003.npz"
    found = [Damage(f"a piece of samples {how}", _at(piece, act), {}, ("sample",)) for how, act in hows.items()]
    copied = lambda run: shutil.copy(
        run / "samples/6-euler/pieces/00000000.npz", run / "samples/6-euler/pieces/00000003.npz"
    )
    other = lambda run: shutil.copytree(run / "samples/3-euler", run / "samples/6-euler", dirs_exist_ok=True)
    return [
        *found,
        Damage("a piece of likelihoods flipped", _at("likelihood/6-test/pieces/*.npz", flip), {}, ("likelihood",)),
        Damage("a piece of sample copied over another", copied, {}, ("sample", "evaluate")),
        Damage(
            "a piece of sample a folder",
            _at("samples/6-euler/pieces/00000003.npz", to_folder),
            {"sample": "00000003.npz"},
            ("sample",),
        ),
        Damage("the samples of another step in the place of these", other, {}, ("sample",)),
        Damage("samples.npz cut in half", _at("samples/6-euler/samples.npz", truncate), {}, ("sample",)),
        Damage("pictures of samples removed", _at("samples/6-euler/3.png", Path.unlink), {}, ("sample",)),
        Damage("a record of samples emptied", _at("samples/6-euler/record.json", empty), {}, ("sample",)),
        Damage("a record of samples a folder", _at("samples/6-euler/record.json", to_folder), {}, ("sample",)),
        Damage(
            "a file in the place of the samples",
            lambda run: (shutil.rmtree(run / "samples"), (run / "samples").write_text(""))[1],
            {"sample": "samples", "evaluate": "samples", "likelihood": "samples", "train": "samples"},
        ),
        Damage("a report that is cut in half", _at("eval/6.json", truncate), {}, ("evaluate",)),
        Damage("a table that is removed", _at("likelihood/6-test/table.json", Path.unlink), {}, ("likelihood",)),
        Damage(
            "statistics of the data flipped",
            _at("../data/statistics/*.npz", flip),
            {"evaluate": "statistics"},
            ("evaluate",),
        ),
        Damage(
            "statistics of the data emptied",
            _at("../data/statistics/*.npz", empty),
            {"evaluate": "statistics"},
            ("evaluate",),
        ),
        Damage(
            "statistics of the data a folder",
            _at("../data/statistics/*.npz", to_folder),
            {"evaluate": "statistics"},
            ("evaluate",),
        ),
        Damage("statistics of the data removed", _at("../data/statistics/*.npz", Path.unlink), {}, ("evaluate",)),
    ]


def damages() -> list[Damage]:
    """All of them."""
    return [*_configs(), *_files(), *_results()]
