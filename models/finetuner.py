"""The LightningModule: what is built, what the optimizer moves, and what is saved. The step is in ``objective``."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.seed import isolate_rng
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from peft import PeftConfig
from torch import Tensor, nn
from torch.optim import Optimizer
from transformers import PreTrainedModel

from ..contracts.batch import MODEL_INPUTS, Batch
from ..contracts.errors import UserError
from ..contracts.seeds import Seeds, derive
from .adapters.adapter import Adapter
from .adapters.peft import as_adapter
from .averaged_weights import complete, keep_only, trained_weights
from .backbone import Kind, Loading, load
from .checkpoint_folder import described, read_manifest, require_same, require_shapes, write_manifest
from .frozen import Loaded, require_start, running_statistics
from .gradients import evaluating
from .learning_rate import LearningRate, combined
from .objective import Objective
from .parameter_groups import parameter_groups, scale_rates, undecayed
from .regularizers.regularizer import Regularizer
from .schedule import Schedule
from .sharding import put, require_built_here, require_shardable, shard, taken, whole
from .stack import named_stack, require_base
from .survey import TrainingSurvey


class FineTuner(Objective):
    """Fine-tunes a pretrained base; a subclass says what the supervised positions are and how they are scored.

    Args:
        base: hub id, folder, ``pkg://PACKAGE/FOLDER`` or ``tiny://llama|bert|t5``.
        adapter: any ``peft.PeftConfig``, or an adapter of finelab.
        optimizer: a factory over parameter groups; vectors and norms get no weight decay.
        regularizers: in the order in which they act.
        schedule: of the learning rate, per optimizer step; None keeps the optimizer's rate.
        learning_rates: rules for parameters with a rate of their own; they multiply.
        loading: revision, dtype, attention kernel, activation checkpointing, pretrained or random weights.
        seeds: init for new weights, train for dropout and noise.
    """

    kind: Kind

    def __init__(
        self,
        base: str,
        adapter: Adapter | PeftConfig,
        optimizer: Callable[[Iterable], Optimizer],
        regularizers: list[Regularizer] | None = None,
        schedule: Schedule | None = None,
        learning_rates: list[LearningRate] | None = None,
        loading: Loading | None = None,
        seeds: Seeds | int = 1,
    ) -> None:
        super().__init__(Seeds.of(seeds))
        self.base, self.adapter = base, as_adapter(adapter)
        self.adapter_as_given = described(self.adapter)
        self.make_optimizer, self.schedule = optimizer, schedule
        self.learning_rates = list(learning_rates or [])
        self.own_regularizers, self.loading = list(regularizers or []), loading or Loading()
        self.model: nn.Module | None = None
        self.loading_notes: tuple[str, ...] = ()
        self.base_revision: str | None = None
        self.start: dict[str, Tensor] | None = None
        self.at_start = True
        self.tolerated: set[str] = set()  # keys of the manifest in which a training state may differ
        self.strict_loading = False  # a training state holds what trains; the rest is the base's

    @abstractmethod
    def build(self, backbone: nn.Module) -> nn.Module:
        """The trainable whole: the adapted backbone, and a head where the target needs one."""

    # ---- building

    def configure_model(self) -> None:
        if self.model is not None:  # Lightning calls this at every entry point
            require_built_here(self.model, self.device_mesh)
            return
        with torch.random.fork_rng():
            loaded = load(self.base, self.kind, self.loading, self.seeds.init)
            self.base_digest, self.loading_notes = loaded.digest, loaded.notes
            self.base_revision = loaded.revision
            self.prepare_adapter(loaded.model)
            untouched = Loaded(loaded.model)
            torch.manual_seed(derive("adapter", self.seeds.init))
            adapted = self.adapter.adapt(loaded.model)
            torch.manual_seed(derive("head", self.seeds.init))
            self.model = self.build(adapted)
        self.origin = {"init_seed": self.seeds.init, "made": untouched.digest_of_made(self.model)}
        if not any(p.requires_grad for p in self.model.parameters()):
            raise UserError(
                f"{type(self).__name__} with {type(self.adapter).__name__} has nothing to train; choose an adapter "
                "that trains weights of it (model.adapter: finelab.models.adapters.Full, or any peft.PeftConfig)."
            )
        self.exempt = undecayed(self.model) | self.adapter.undecayed(self.adapted)
        self.stack = named_stack(self.own_regularizers + self.adapter.regularizers())
        if self.device_mesh is not None:
            require_shardable(self.trainer, self.adapter, self.regularizers)
            self.exempt = shard(self.model, self.adapted, self.device_mesh, self.exempt)
        for regularizer in self.regularizers:
            regularizer.attach(self.model)
        if any(regularizer.reads_base for regularizer in self.regularizers):
            require_base(self.regularizers, self.adapter)
            self.keep_start()
        if self.loading.compile:
            self.adapted.compile()

    def prepare_adapter(self, backbone: PreTrainedModel) -> None:
        """Lets an adapter that wants to look at training rows, and at what the bare base makes of them."""
        fits = self._trainer is not None and self._trainer.state.fn == "fit"
        if not fits or type(self.adapter).prepare is Adapter.prepare:
            return
        torch.manual_seed(derive("head", self.seeds.init))
        self.model = self.build(backbone).to(self.trainer.strategy.root_device)
        with isolate_rng(), evaluating(self):
            self.adapter.prepare(backbone, TrainingSurvey(self, f"model.adapter: {type(self.adapter).__name__}"))
        self.zero_grad()
        self.model = None

    def configure_callbacks(self) -> list[L.Callback]:
        return self.adapter.callbacks()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        trained = (p for p in self.parameters() if p.requires_grad)
        assert self.model is not None
        multipliers = combined(self.learning_rates, self.model)
        optimizer = scale_rates(self.make_optimizer(parameter_groups(trained, self.exempt, multipliers)))
        if self.schedule is None:
            return optimizer
        total = self.trainer.estimated_stepping_batches
        if total == float("inf"):
            raise UserError(
                f"model.schedule: {type(self.schedule).__name__} needs to know the number of steps; set "
                "trainer.max_epochs or trainer.max_steps, or remove the schedule."
            )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": self.schedule(optimizer, int(total)), "interval": "step"},
        }

    # ---- the base

    def keep_start(self) -> None:
        """Keep the backbone's trainable weights, to be called before the first step: without this ``as_base`` cannot
        find a base that is the start. Costs a copy of them on the CPU. Loading weights does it first, in case.

        Raises:
            UserError: other weights are there already.
        """
        if self.adapter.base_is != "start" or self.start is not None:
            return
        if not self.at_start:
            raise UserError(
                f"{type(self).__name__}.keep_start was called after weights were loaded for evaluation or trained, and "
                f"the base under {type(self.adapter).__name__} is its start, which is gone. Call keep_start first, or "
                "build the module anew and load the folder before fit."
            )
        trained = self.adapted.named_parameters()
        self.start = {name: p.detach().cpu().clone() for name, p in trained if p.requires_grad}

    def leave_start(self) -> None:
        """Other weights are about to be loaded; whoever may train from them may ask for the base."""
        if self.at_start and (self._trainer is None or self._trainer.state.fn == "fit"):
            self.keep_start()
        self.at_start = False

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        kept = {name for name, p in self.named_parameters() if p.requires_grad} | running_statistics(self)
        keep_only(checkpoint, kept)
        checkpoint["objective"], checkpoint["origin"] = self.state(), self.origin
        checkpoint["adapter"] = self.adapter.state(self.adapted)
        checkpoint["finelab"] = checkpoint.get("finelab", {}) | {"module": self.manifest()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Raises:
        UserError: the state is of another base, adapter, target or start.
        """
        own = {key: value for key, value in self.manifest().items() if key not in self.tolerated}
        require_same(checkpoint["finelab"]["module"], own, "The training state")
        convert = self.trainer.precision_plugin.convert_module  # which Lightning does only after it has put weights in
        convert(self)
        if self.adapter.restore(self.adapted, checkpoint["adapter"]):
            self.model, self.start = None, None
            with self.trainer.precision_plugin.module_init_context():
                self.configure_model()
            convert(self)
            self.adapter.restore(self.adapted, checkpoint["adapter"])
        require_start(checkpoint["origin"], self.origin, type(self.adapter).__name__)
        moving = running_statistics(self)
        weights = {name: x for name, x in trained_weights(checkpoint).items() if name not in moving}
        require_shapes(weights, dict(self.named_parameters()))
        self.leave_start()
        self.resumed = checkpoint["objective"]
        complete(checkpoint, self.state_dict())

    def on_train_start(self) -> None:
        super().on_train_start()
        self.at_start = False

    @contextmanager
    def as_base(self) -> Iterator[None]:
        """Inside, the adapted backbone computes the base's function; a new head is as it is.

        Raises:
            UserError: the adapter has rewritten the base.
        """
        if self.adapter.base_is == "off":
            with self.adapter.off(self.adapted):
                yield
            return
        if self.adapter.base_is == "lost" or self.start is None:
            raise UserError(
                f"model.adapter: {type(self.adapter).__name__} has no way back to the base's function "
                f"(base_is: {self.adapter.base_is}). Choose another adapter or init, or do without what reads the base."
            )
        start, named = self.start, dict(self.adapted.named_parameters())
        parameters = {name: named[name] for name in start}
        tuned = {name: taken(p) for name, p in parameters.items()}
        every_step = any(regularizer.reads_base for regularizer in self.regularizers)
        for name, p in parameters.items():
            value = start[name].to(p.device)
            put(p, value)
            if every_step:
                start[name] = value
        try:
            yield
        finally:
            for name, p in parameters.items():
                put(p, tuned[name])

    # ---- weights

    def trainable_state(self) -> dict[str, Tensor]:
        """CPU copies of every trainable parameter; before training it is the base's function."""
        return {name: p.detach().cpu().clone() for name, p in self.named_parameters() if p.requires_grad}

    def load_trainable_state(self, state: dict[str, Tensor]) -> None:
        parameters = dict(self.named_parameters())
        for name, value in state.items():
            parameters[name].data.copy_(value)

    def parameter_counts(self) -> tuple[int, int]:
        """Trainable and total parameters."""
        counts = [(p.numel(), p.requires_grad) for p in self.parameters()]
        return sum(n for n, trains in counts if trains), sum(n for n, _ in counts)

    def manifest(self) -> dict[str, Any]:
        """What a checkpoint folder says of itself beyond its weights."""
        own = {"target": type(self).__name__, "base": self.base, "base_digest": self.base_digest}
        return own | {"base_revision": self.base_revision, "adapter": self.adapter_as_given}

    def save_folder(self, folder: Path) -> None:
        """Write the trainable parameters only: the adapter's own format, and ``finelab.json``."""
        folder.mkdir(parents=True, exist_ok=True)
        self.save_weights(folder)
        write_manifest(folder, self.manifest())

    def load_folder(self, folder: Path) -> None:
        """Read what ``save_folder`` wrote.

        Raises:
            UserError: the folder is missing or damaged, or belongs to another base, adapter or target.
        """
        self.configure_model()
        read_manifest(folder, self.manifest())
        self.leave_start()
        with whole(self, back=True):
            self.load_weights(folder)
        if self.start is not None:
            self.start |= self.adapter.loaded_start(self.adapted)

    def save_weights(self, folder: Path) -> None:
        self.adapter.save(self.adapted, folder)

    def load_weights(self, folder: Path) -> None:
        self.adapter.load(self.adapted, folder)

    def inputs(self, batch: Batch) -> dict[str, Tensor]:
        """What the adapted backbone reads of a batch."""
        return {key: batch[key] for key in MODEL_INPUTS if key in batch} | dict(self.adapter.inputs(batch))

    @property
    @abstractmethod
    def adapted(self) -> nn.Module:
        """The adapted backbone inside ``model``."""
