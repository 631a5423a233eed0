"""Where results lie in a workdir: each in a folder of its own, by what made it, so that none replaces another.

The first result of a step has a plain name, such as samples/5000-rk45. Whatever is made otherwise (by another seed,
other options, other weights) lies beside it, with a hash of its record in its name, such as samples/5000-rk45-1c2d3e4f.
Each folder has a record.json that says what made it. The same command finds the same folder again.
"""

import contextlib
import json
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_collections

from pfgm_jax import build, config_files, defaults, sharding
from pfgm_jax.errors import InputError, StorageError
from pfgm_jax.folders import Folder, is_local, write_whole
from pfgm_jax.reading import read_json
from pfgm_jax.trained_model import TrainedModel

RECORD = "record.json"
# Fields that decide when and in which portions work is done, and no number but for rounding.
_PORTIONS = {
    "training": (
        *("n_iters", "log_freq", "eval_freq", "snapshot_freq", "snapshot_freq_for_preemption", "snapshot_sampling"),
        *("restart", "accumulate", "field_chunk", "spread_from", "wandb"),
    ),
    "eval": ("checkpoints", "batch_size"),
}


def samples_folder(workdir: Folder, model: TrainedModel, n: int, parent: str = "samples") -> Folder:
    """Claims the folder of n samples of a model: `<step>-<sampler>`, or with a hash.

    How many there are makes no difference, since sample k depends on k alone, unless all of a batch share their steps.
    """
    count = {"num_samples": n} if model.config.sampling.shared_step else {}
    return claim(workdir / parent, f"{model.step}-{build.sampler_name(model.config)}", {**model.record, **count})


def upsampled_folder(workdir: Folder, model: TrainedModel, upsampler: TrainedModel, n: int) -> Folder:
    """Claims the folder of samples of an upsampler given n samples of a model: `<step>-<sampler>-then-<step>`."""
    name = f"{model.step}-{build.sampler_name(model.config)}-then-{upsampler.step}"
    shared = model.config.sampling.shared_step or upsampler.config.sampling.shared_step
    count = {"num_samples": n} if shared else {}
    return claim(workdir / "samples", name, {**model.record, "then": upsampler.record, **count})


def likelihoods_folder(workdir: Folder, model: TrainedModel, images: Mapping[str, Any]) -> Folder:
    """Claims the folder of the likelihoods of images: `<step>-<test|train|folder|arrays>`, or with a hash.

    Args:
      workdir: of the run.
      model: a trained model.
      images: describes the images; see `measured_images.MeasuredImages.record`.
    """
    options = model.config.eval
    record = {**model.record, **images, "divergence": options.divergence, "draws": options.num_probes}
    return claim(workdir / "likelihood", f"{model.step}-{str(images['images']).partition(':')[0]}", record)


def restored_folder(workdir: Folder, model: TrainedModel, task: Mapping[str, Any]) -> Folder:
    """Claims the folder of restored images: `<step>-<operator>-<rule>`, or with a hash.

    Args:
      workdir: of the run.
      model: a trained model.
      task: describes the images and what became of them; see `restoring.Task.record`.
    """
    return claim(workdir / "restored", f"{model.step}-{task['operator']}-{task['rule']}", {**model.record, **task})


def report_folder(workdir: Folder, model: TrainedModel, images: Mapping[str, Any] | None) -> Folder:
    """Claims the folder of what belongs to an evaluation's report: `<step>`, or with a hash; the report is beside it.

    Args:
      workdir: of the run.
      model: a trained model.
      images: describes the images of likelihoods; None if there are none.
    """
    return claim(workdir / "eval", str(model.step), {**model.record, **_deciding(model.config), **(images or {})})


def report_file(folder: Folder) -> Folder:
    """Returns the file of the report beside a `report_folder`."""
    return folder.parent / f"{folder.name}.json"


def claim(parent: Folder, name: str, record: Mapping[str, Any]) -> Folder:
    """Finds or makes the folder of a result; the same in all processes, which must all call it.

    Args:
      parent: folder of results of this kind.
      name: of the folder, if no other result has it.
      record: what decides the result, in values of JSON.

    Raises:
      InputError: the folder is in use by something else.
      StorageError: it cannot be written.
    """

    def find() -> str:
        try:
            return _claim(parent, name, json.loads(json.dumps(record))).name
        except OSError as error:
            raise StorageError(
                f"results cannot be written to {parent} ({error.strerror}); see that it is a folder that can be written"
            ) from None

    return parent / sharding.first_text(sharding.on_first_process(find) or "")


def _claim(parent: Folder, name: str, record: dict[str, Any]) -> Folder:
    plain = parent / name
    other = parent / f"{name}-{zlib.crc32(json.dumps(record, sort_keys=True).encode()):08x}"
    if _completed(_record_of(plain), record) == record:
        return plain
    for beside in sorted(parent.glob(f"{name}-*")) if parent.is_dir() else ():
        # Named by another hash, if it was made before a field existed.
        if beside.is_dir() and _completed(_record_of(beside), record) == record:
            return beside
    # A report without a folder was written by an earlier version; nobody knows all that made it.
    if not report_file(plain).exists() and not other.exists() and _make(plain, record):
        return plain
    if _record_of(other) not in (record, None):
        raise InputError(f"{other} holds what was made otherwise; move it to another place")
    write_whole(other / RECORD, json.dumps(record, indent=1).encode())
    return other


def _make(folder: Folder, record: dict[str, Any]) -> bool:
    """Makes a folder that holds a record; returns whether it was not there before, or empty."""
    content = json.dumps(record, indent=1).encode()
    if not is_local(folder):
        free = not folder.exists()
        if free:
            write_whole(folder / RECORD, content)
        return free
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
        made = Path(temporary) / folder.name
        write_whole(made / RECORD, content)
        try:
            made.rename(folder)  # which replaces nothing but an empty folder
        except OSError:
            return False
    return True


def _completed(recorded: Any, record: dict[str, Any]) -> Any:
    """Gives fields that are younger than a recorded result their defaults, as runs have them."""
    if not isinstance(recorded, dict) or recorded == record:
        return recorded
    known = config_files.to_dict(defaults.get_config())
    young = lambda group: {n: v for n, v in known.get(group, {}).items() if n in record[group]}
    of_config = {g for g, v in record.items() if isinstance(v, dict) and isinstance(recorded.get(g, {}), dict)}
    return {**recorded, **{group: {**young(group), **recorded.get(group, {})} for group in of_config}}


def _record_of(folder: Folder) -> Any:
    """Reads the record of a folder; None if there is none that can be read."""
    with contextlib.suppress(FileNotFoundError, InputError):
        return read_json(folder / RECORD, "remove it")
    return None


def _deciding(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """Returns the groups of a config that decide what an evaluation measures, besides the model."""
    values = config_files.to_dict(config)
    deciding = lambda group: {name: v for name, v in values[group].items() if name not in _PORTIONS[group]}
    return {group: deciding(group) for group in _PORTIONS}
