"""From the parts of a recipe to what learns: encoder, objective and views, checked before anything is loaded."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from sslkuramoto.checkpoint import check_fit, load_encoder, load_strictly, weights_hash
from sslkuramoto.data import expected_spec
from sslkuramoto.dynamics.steps import set_checkpoint_steps
from sslkuramoto.encoders import ENCODERS, Encoder
from sslkuramoto.encoders.features import check_takes, modes_kept
from sslkuramoto.errors import UserError, one_line, too_large
from sslkuramoto.examples import Spec, check_reads, shown_reads
from sslkuramoto.files import at_home
from sslkuramoto.heads import check_head
from sslkuramoto.objectives import OBJECTIVES, Objective, Step, check_views
from sslkuramoto.randomness import borrowed_global, generator
from sslkuramoto.recipe import PARTS, Part, Recipe
from sslkuramoto.registry import registry_of
from sslkuramoto.run_directory import RunDirectory
from sslkuramoto.training.log import check_loggers
from sslkuramoto.training.optimizer import OPTIMIZERS, parameter_groups
from sslkuramoto.training.processes import device_of
from sslkuramoto.training.schedule import SCHEDULES
from sslkuramoto.views import VIEWS, ViewPolicy

MISSING = "???"  # what a recipe writes for a value that each run has to give


class Learner(nn.Module):
    """Encoder and objective as the one module that processes synchronise.

    An encoder that the objective freezes gets no gradient and stays in eval mode, whatever :meth:`train` says.
    """

    def __init__(self, encoder: Encoder, objective: Objective) -> None:
        super().__init__()
        self.encoder = encoder.requires_grad_(False) if objective.freezes_encoder else encoder
        self.objective = objective

    def train(self, mode: bool = True) -> "Learner":
        """Set train or eval mode; a frozen encoder is always in eval mode."""
        super().train(mode)
        if self.objective.freezes_encoder:
            self.encoder.eval()
        return self

    def forward(self, views: dict[str, Tensor], draw: torch.Generator, labels: Tensor | None) -> Step:
        """Return loss, metrics and features of one part of a batch."""
        return self.objective(self.encoder, views, draw=draw, labels=labels)

    def exported(self) -> nn.Module:
        """Return the encoder that a run leaves behind: the objective chooses (X-PhiNet: the long-term one)."""
        return self.objective.exported(self.encoder)


def resolved(recipe: Recipe) -> Recipe:
    """Return the recipe with every option of every part written out and ``init`` as an absolute path.

    Raises:
        UserError: an unknown name or option, a value of the wrong type, a required option left out.
    """
    if recipe.init == MISSING:
        raise UserError("init='???': no finished run; name the one to start from, for example --init runs/NAME")
    parts = {}
    for key in PARTS:
        part = getattr(recipe, key)
        parts[key] = Part(part.name, registry_of(key).resolved(part.name, part.options))
    return replace(recipe, init=None if recipe.init is None else str(at_home(recipe.init).resolve()), **parts)


def check(recipe: Recipe) -> Recipe:
    """Check all that can be checked without the data; nothing is loaded, written or allocated.

    Whether this machine has the device is left to :func:`~sslkuramoto.training.processes.check_device`: a recipe may
    be checked where a job is sent from.

    Returns:
        The recipe, :func:`resolved`.

    Raises:
        UserError: a part that cannot be built as written, views that the objective does not get, no name of a device, a
            logger that is not installed, an ``init`` that is no finished run or does not fit, parts that do not read
            what the data gives.
    """
    return weightless(recipe)[0]


def weightless(recipe: Recipe) -> tuple[Recipe, Encoder, Objective]:
    """Check as :func:`check` does; return encoder and objective too, whose weights take no memory."""
    recipe = resolved(recipe)
    device_of(recipe.engine.device)
    check_loggers(recipe.engine.loggers, recipe.engine.wandb_project)
    check_batch(recipe, processes=1)
    spec = expected_spec(recipe.data.name, recipe.data.options)
    encoder, objective, _ = _build_parts(recipe, spec, device="meta")
    if encoder.sides is None and not spec.unsized:
        check_forward(encoder, f"encoder {recipe.encoder.name}", spec, device="meta")
    if recipe.init is not None:
        check_fit(encoder, _initial(recipe.init, encoder).state_dict(), f"init={recipe.init}")
    return recipe, encoder, objective


def leaves_untrained(recipe: Recipe) -> bool:
    """Return whether a run leaves an encoder of random weights: the objective freezes it, nothing trained it before.

    Args:
        recipe: of the run, resolved or not.
    """
    objective = OBJECTIVES.result_class(recipe.objective.name, Objective)
    encoder = ENCODERS.result_class(recipe.encoder.name, Encoder)
    trained = recipe.init is not None or encoder.pretrained(recipe.encoder.options)
    return not trained and objective.freezes(recipe.objective.options)


def check_batch(recipe: Recipe, processes: int) -> None:
    """Check that every process gets as many examples in each part of a batch, and at least two.

    Raises:
        UserError: it does not.
    """
    parts = recipe.accumulate * processes
    if recipe.batch_size % parts:
        raise UserError(
            f"batch_size={recipe.batch_size}: must be divisible by accumulate={recipe.accumulate} times {processes} "
            "processes"
        )
    if recipe.batch_size < 2 * parts:
        raise UserError(
            f"batch_size={recipe.batch_size}: every part of a batch needs two images (BatchNorm, negatives)"
        )


def build(recipe: Recipe, spec: Spec) -> tuple[Learner, ViewPolicy]:
    """Build learner and views for data of ``spec``, with the weights of ``recipe.init`` where it names a run.

    Raises:
        UserError: as :func:`check`; labels that the objective needs and the data lack.
    """
    encoder, objective, views = _build_parts(recipe, spec, device="cpu")
    check_forward(encoder, f"encoder {recipe.encoder.name}", spec, device="cpu")
    if objective.needs_labels and spec.num_classes is None:
        raise UserError(f"objective {recipe.objective.name}: needs labels, data {recipe.data.name} has none")
    if recipe.init is not None:
        load_strictly(encoder, _initial(recipe.init, encoder).state_dict(), f"init={recipe.init}")
    return Learner(encoder, objective), views


def _build_parts(recipe: Recipe, spec: Spec, *, device: str) -> tuple[Encoder, Objective, ViewPolicy]:
    """Build encoder, objective and views; on the device ``"meta"`` this checks them without memory."""
    if (last := max(recipe.measure.keep_checkpoints, default=0)) > recipe.epochs:
        raise UserError(f"measure.keep_checkpoints: {last}: must be at most epochs={recipe.epochs}")
    schedule = SCHEDULES.build(recipe.schedule.name, recipe.schedule.options)
    schedule.check(recipe.epochs)
    data = f"data {recipe.data.name}"
    with torch.device(device), borrowed_global(generator("cpu", recipe.seed, "weights")):
        encoder = ENCODERS.build(recipe.encoder.name, recipe.encoder.options)
        set_checkpoint_steps(encoder, recipe.engine.checkpoint_steps)
        check_takes(f"encoder {recipe.encoder.name}", encoder, data, spec)
        objective = OBJECTIVES.build(recipe.objective.name, recipe.objective.options, encoder, spec.num_classes)
    check_reads(f"objective {recipe.objective.name}", objective.reads, data, spec)
    objective.check(data, spec)
    if objective.head_part is not None:
        check_head(objective.head_part.name, data, spec)
    check_reads(f"views {recipe.views.name}", VIEWS.result_class(recipe.views.name, ViewPolicy).reads, data, spec)
    views = VIEWS.build(recipe.views.name, recipe.views.options, spec.side)
    views.check(data, spec)
    check_views(recipe.objective.name, objective, views.names)
    groups = parameter_groups(Learner(encoder, objective), schedule.hold, schedule.decay_norm_and_bias)
    with suppress(_OptionsServeError):
        OPTIMIZERS.build(recipe.optimizer.name, recipe.optimizer.options, _Unread(groups))
    return encoder, objective, views


class _OptionsServeError(Exception):
    """The constructor of an optimizer found nothing wrong with its options: it began to read the parameters."""


class _Unread(list[dict[str, Any]]):
    """Groups of parameters that end the construction of an optimizer; torch would load its compiler to add them."""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        raise _OptionsServeError


def check_forward(encoder: Encoder, name: str, spec: Spec, *, device: str) -> None:
    """Encode two random examples: a network may be too deep for small images, or take another number of channels.

    Without memory, on the device ``"meta"``, a network that reads values of tensors cannot tell, and passes.

    Raises:
        UserError: it cannot.
    """
    draw = generator("cpu", "check of an encoder")
    try:
        with torch.device(device), torch.no_grad(), borrowed_global(draw), modes_kept(encoder):
            inputs = spec.random(2, None if device == "meta" else draw).inputs
            encoder.eval()(inputs, draw=generator("cpu", "check of an encoder", "oscillators"))
    except (RuntimeError, ValueError, IndexError, TypeError, AssertionError) as error:
        if isinstance(error, UserError) or too_large(error):
            raise
        if device == "meta" and device in str(error):
            return
        raise UserError(f"{name}: cannot encode {spec}: {one_line(error)}") from None


def check_start(recipe: Recipe, run: RunDirectory) -> None:
    """Check that a run that has begun did so from the weights that ``init`` holds now, as far as both are known.

    Raises:
        UserError: it began from others.
    """
    known = None if recipe.init is None else run.start()
    if known is not None and start_of(recipe) not in (None, known):
        raise UserError(
            f"{run.path}: began from other weights than init={recipe.init} holds now; choose another run directory"
        )


def start_of(recipe: Recipe) -> str | None:
    """Return the hash of the weights that ``init`` holds now; None where it names no run, or one that is gone."""
    source = None if recipe.init is None else RunDirectory(at_home(recipe.init))
    return weights_hash(load_encoder(source.encoder_file())) if source is not None and source.finished else None


def without_lost_init(recipe: Recipe, run: RunDirectory) -> Recipe:
    """Return the recipe without ``init`` where the run that it names is gone and a checkpoint has later weights."""
    lost = recipe.init is not None and run.last_checkpoint.is_file() and not RunDirectory(at_home(recipe.init)).finished
    return replace(recipe, init=None) if lost else recipe


def _initial(init: str, encoder: Encoder) -> Encoder:
    """Return the encoder of a finished run.

    Args:
        init: the run directory.
        encoder: that shall start from its weights.

    Raises:
        UserError: the run is not finished, or its encoder reads other kinds of examples.
    """
    source = RunDirectory(at_home(init))
    if not source.finished:
        raise UserError(f"init={init!r}: no finished run (it holds no {source.encoder_file().name})")
    found = load_encoder(source.encoder_file())
    if not set(found.reads) & set(encoder.reads):
        theirs, ours = shown_reads(found.reads), shown_reads(encoder.reads)
        raise UserError(f"init={init}: its network reads {theirs}, the encoder of this recipe reads {ours}")
    return found
