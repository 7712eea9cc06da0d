"""Making the cells of a study, together with other processes that do the same."""

import contextlib
import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from simclr_tf import checkpoints
from simclr_tf import flag as flags
from simclr_tf.backend import keras
from simclr_tf.checkpoints.run_directory import RunDirectory
from simclr_tf.data import subsets
from simclr_tf.data.sources import ImageDataset
from simclr_tf.devices import strategies
from simclr_tf.errors import NonFiniteLossError, UserError
from simclr_tf.evaluation.features import NonFiniteFeaturesError
from simclr_tf.experiment import checks, parts, probing, train
from simclr_tf.experiment import config as configuration
from simclr_tf.experiment.config import DataConfig, ExperimentConfig
from simclr_tf.experiment.evaluate import completed
from simclr_tf.methods import METHODS
from simclr_tf.studies.grid import MEASURES, Cell, Further
from simclr_tf.studies.sharing import SHOWN_PER_STEP, duration, make_all
from simclr_tf.studies.sweep import Sweep
from simclr_tf.training import growing
from simclr_tf.training.metrics_log import read_rows
from simclr_tf.training.plan import Plan

_OF_RESULTS = ("eval_split", "knn_k", "knn_temperature")  # no matter of training, but of results
_NOT_OF_CELLS = ("model_dir", "mode", "overwrite", "resume", "eval_name")

Recipes = Callable[[str], Mapping[str, Any]]


class Stopped(Exception):
    """SIGTERM ended the training of a cell, which has saved itself."""


class Runner:
    """Makes cells: a training in a run directory of its own, then a linear probe and kNN.

    Args:
      sweep: where results go.
      facts: what the cells have in common besides their flags, such as the name of the study, and
        what the recipes say; "recipes" are not asked of directories of before they were.
      cells: see `grid.cells_of`.
      chosen: the flags that all cells share, by name; those of a cell are stronger.
      recipes: gives the flags of a method's own recipe, weaker than both; None if there are none.
      probe_images: how many images the probe and kNN are fitted to, at most; 0 are all.
      further: measures more of each cell, of h and z.
      require: refuses what `further` cannot work with, see `grid.Study`.

    Raises:
      UserError: a flag is none of a study's, or a cell cannot work with these flags.
    """

    def __init__(
        self,
        sweep: Sweep,
        facts: Mapping[str, Any],
        cells: Sequence[Cell],
        chosen: Mapping[str, Any],
        recipes: Recipes | None = None,
        probe_images: int = 0,
        further: Further | None = None,
        require: Callable[[ExperimentConfig, ImageDataset], None] | None = None,
    ):
        for flag in _NOT_OF_CELLS:
            if flag in chosen:
                raise UserError(
                    f"--{flag} is not for a study, each cell of which trains in a directory of "
                    "its own. Leave it out."
                )
        strategy = chosen.get("strategy", "auto")
        if strategy in ("auto", "multi_worker") and strategies.names_several_hosts():
            raise UserError(
                "A study trains each cell on one host, and TF_CONFIG names several. Unset it and "
                "start the command on each of them: they share the cells."
            )
        self.sweep = sweep
        self.cells = list(cells)
        self._probe_images, self._further, self._require = probe_images, further, require
        self._configs = {cell.id: self._config_of(cell, chosen, recipes) for cell in cells}
        self._splits: dict[DataConfig, tuple[ImageDataset, ImageDataset]] = {}
        self._fitted: dict[DataConfig, ImageDataset] = {}
        self._settings = self._settings_of(dict(facts), chosen)
        self._rates: dict[str, tuple[float, float]] = {}  # work and seconds of finished cells
        self.plans = {cell.id: self._plan_of(cell) for cell in cells}

    def run(self, report: Callable[[str], None] = print) -> None:
        """Make all cells that are not finished, or wait until other processes have made them.

        Args:
          report: is told about each cell that is finished here, and how much is left.

        Raises:
          UserError: the directory holds a study with other settings, or a cell cannot work.
          Stopped: SIGTERM came while a cell was trained.
        """
        with self.sweep.take_part(self._settings):
            make_all(
                self.sweep,
                self.cells,
                make=self._make,
                finished=lambda cell: self.result(cell) is not None,
                seconds_left=self.seconds_left,
                report=report,
            )

    def compare(self) -> None:
        """Refuse the directory of a study with other settings; nothing is written.

        Raises:
          UserError: it is one.
        """
        self.sweep.compare(self._settings)

    def result(self, cell: Cell) -> dict[str, Any] | None:
        """The result of a cell, or None as long as it is not finished.

        Raises:
          UserError: it is damaged.
        """
        found = self.sweep.result(cell.id, ["steps", "steps_made", "seconds"])
        if found is None:
            return None
        if not found.get("diverged"):
            self.sweep.result(cell.id, [measure.key for measure in MEASURES])
            if found["steps_made"]:
                work = self.images_shown(cell) * self._size(cell)
                self._rates[cell.id] = work * found["steps_made"] / found["steps"], found["seconds"]
        return found

    def images_shown(self, cell: Cell) -> int:
        """How many images the network of a cell is shown forwards, a measure of cost.

        Each view counts, and a step of training for three times its images.
        """
        (config, _), plan = self._configs[cell.id], self.plans[cell.id]
        views = len(train.BUILDERS[config.train.train_mode].recipe_of(config))
        bank, queries = self._splits_of(config)
        fitted = min(self._probe_images or bank.num_examples, bank.num_examples)
        trained = SHOWN_PER_STEP * plan.train_steps * plan.batch_size * views
        return trained + fitted + queries.num_examples

    def seconds_left(self, left: Sequence[Cell]) -> float | None:
        """How long cells will take one process, by those that are finished; None before the first.

        The time of a cell goes with its images, and roughly with depth times the square of the
        width of its encoder.
        """
        work = sum(work for work, _ in self._rates.values())
        if not left:
            return 0.0
        if not work:
            return None
        seconds = sum(seconds for _, seconds in self._rates.values())
        return seconds / work * sum(self.images_shown(cell) * self._size(cell) for cell in left)

    def describe(self) -> str:
        """The plan: steps of each cell, whether it is finished, and what the cells cost."""
        width = max(len(cell.name) for cell in self.cells) + 2
        lines = [f"{'cell':<{width}}{'steps':>9}{'batch':>7}{'images':>16}  time left"]
        left = [cell for cell in self.cells if self.result(cell) is None]
        total = 0
        for cell in self.cells:
            plan, images = self.plans[cell.id], self.images_shown(cell)
            total += images
            time_left = duration(self.seconds_left([cell])) if cell in left else "finished"
            lines.append(
                f"{cell.name:<{width}}{plan.train_steps:>9,}{plan.batch_size:>7,}{images:>16,}"
                f"  {time_left}"
            )
        time_left = duration(self.seconds_left(left))
        lines.append(
            f"{len(self.cells):,} cells, {len(self.cells) - len(left):,} finished, {total:,} "
            f"images shown in all; time left: {time_left}."
        )
        return "\n".join(lines)

    def _config_of(
        self, cell: Cell, chosen: Mapping[str, Any], recipes: Recipes | None
    ) -> tuple[ExperimentConfig, frozenset[str]]:
        """The flags of the training of a cell, and the names of those that are given."""
        own = cell.flags
        recipe = recipes(own["method"]) if recipes and "method" in own else {}
        values = {**recipe, **chosen, **own, "mode": "train"}
        if values.get("train_mode") == "finetune":
            values = {name: v for name, v in values.items() if name not in checks.OF_PRETRAINING}
        values["model_dir"] = str(self.sweep.path / cell.folder / "run")
        config = configuration.from_dict(values)
        if lost := sorted(values.keys() - flags.to_dict(config).keys()):
            raise UserError(
                f"The cell {cell.name} has --{lost[0]}, which --method={config.train.method} does "
                "not have. Leave one of them out, or choose other cells with --cells."
            )
        given = frozenset(values)
        config = configuration.with_defaults_of_method(config, given)
        with _naming(cell):
            checks.check_flags(config)
            train.BUILDERS[config.train.train_mode].recipe_of(config)
            if self._further:
                _require_head(config)
        return config, given

    def _plan_of(self, cell: Cell) -> Plan:
        config, given = self._configs[cell.id]
        with _naming(cell):
            plan = parts.plan_of(config, self._splits_of(config)[0].num_examples, 1, given)
            growing.phases(config.view.image_size_schedule, config.view.image_size, plan)
            if config.train.train_mode == "pretrain":
                METHODS[config.train.method].check(config.method, plan)
        return plan

    def _splits_of(self, config: ExperimentConfig) -> tuple[ImageDataset, ImageDataset]:
        """The images that are trained on, and those that the probe is measured on."""
        if config.data not in self._splits:
            self._splits[config.data] = probing.open_splits(config)
        return self._splits[config.data]

    def _fitted_to(self, config: ExperimentConfig) -> ImageDataset:
        """The images that the probe is fitted to; to choose them may take reading all of them."""
        if config.data not in self._fitted:
            bank, _ = self._splits_of(config)
            self._fitted[config.data] = probing.limit_images(bank, self._probe_images)
        return self._fitted[config.data]

    def _settings_of(self, facts: dict[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
        """What all cells share and results depend on.

        Flags at their defaults that the study does not know are of a later version. Of what is
        given, the names are decisive too: a method or a recipe may have other values than the
        defaults.
        """
        config = configuration.from_dict(chosen)
        default = flags.to_dict(type(config)())
        values = flags.to_dict(config)
        decisive = {name: values[name] for name in (*flags.identity(config), *_OF_RESULTS)}
        configs = {of_cell.data: of_cell for of_cell, _ in self._configs.values()}
        splits = [split for of_cell in configs.values() for split in self._splits_of(of_cell)]
        later = {
            "images": [subsets.fingerprint(split) for split in splits],
            "content": [split.content for split in splits],
            "given": sorted(decisive.keys() & chosen.keys()),
            "recipes": facts.pop("recipes", None),
        }
        stored = self.sweep.settings() or decisive | later
        return {
            **facts,
            **{k: v for k, v in decisive.items() if k in stored or v != default[k]},
            **{k: v for k, v in later.items() if k in stored},
        }

    def _size(self, cell: Cell) -> int:
        """What an image costs its encoder, roughly, beside one of others."""
        model = self._configs[cell.id][0].model
        return model.resnet_depth * model.width_multiplier**2

    def _make(self, cell: Cell) -> str:
        """Make a cell, write its result, and return a line for the log."""
        config, given = self._configs[cell.id]
        with _naming(cell):
            fitted = self._fitted_to(config)  # before it is trained: it may be too few images
            if self._require:
                self._require(config, fitted)
        directory, steps = RunDirectory(config.run.model_dir), self.plans[cell.id].train_steps
        before, began = directory.latest_step, time.monotonic()
        result = {"labels": dict(cell.labels), "flags": dict(cell.flags), "steps": steps}
        try:
            with _naming(cell):
                status = train.run(config, given)
            if status:
                raise Stopped
            result |= self._measured(cell, given, directory)
            shown = ", ".join(f"{m.title.split(',')[0]} {result[m.key]:.1%}" for m in MEASURES)
        except (NonFiniteLossError, NonFiniteFeaturesError) as error:
            result["diverged"], shown = True, f"diverged ({error})"
        finally:
            keras.backend.clear_session()
            gc.collect()
        result["steps_made"] = steps - before
        result["seconds"] = round(time.monotonic() - began, 3)
        self.sweep.finish(cell.id, result)
        return f"{cell.name}: {shown} ({duration(result['seconds'])})"

    def _measured(
        self, cell: Cell, given: frozenset[str], directory: RunDirectory
    ) -> dict[str, Any]:
        """The measures of a finished training, and the last of its metrics."""
        metrics: dict[str, Any] = {}
        for row in read_rows(directory / "metrics.jsonl"):
            metrics |= row
        network = checkpoints.load(directory.path)
        config = completed(self._configs[cell.id][0], directory.config(), given)
        splits = self._fitted_to(config), self._splits_of(config)[1]
        found = {"metrics": metrics} | probing.probe(config, network, *splits)
        if self._further:
            folder = self.sweep.path / cell.folder
            found |= self._further(config, network, *splits, folder)
        return found


def _require_head(config: ExperimentConfig) -> None:
    """Refuse a training after which there is no z."""
    head = METHODS[config.train.method].projector(config.method)
    if config.train.train_mode != "pretrain" or not head:
        raise UserError("This study compares h with z: it needs a pretraining with a head.")


@contextlib.contextmanager
def _naming(cell: Cell) -> Iterator[None]:
    """Name the cell in what is wrong with its flags."""
    try:
        yield
    except NonFiniteFeaturesError:
        raise  # it is a result of the cell
    except UserError as error:
        raise UserError(f"The cell {cell.name} cannot be made. {error}") from error
