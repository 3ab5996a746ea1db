"""Multitask prompt tuning through PEFT (Wang et al., ICLR 2023, arXiv:2303.02861)."""

from collections.abc import Mapping

from peft import MultitaskPromptTuningConfig, PeftModel, TaskType
from torch import Tensor, nn
from transformers import PreTrainedModel

from ...contracts.batch import Batch
from ...contracts.errors import UserError
from .peft import task_of
from .peft_prompt_tuning import PeftPromptTuning


class PeftMultitaskPromptTuning(PeftPromptTuning):
    """y = f([P * (u_t v_t); E(x)]): one prompt P [n, d] for all tasks, times a matrix of rank r (``num_ranks``) of each
    task's own; n d + T r (n + d) parameters.

    A row's task is its source: with ``num_tasks`` 1 all rows are of one task, which needs no naming then; otherwise
    task t is the t-th source of a mixture. The paper's distillation from single-task prompts is no part of PEFT.
    """

    def misfit(self, backbone: PreTrainedModel) -> str | None:
        if task_of(backbone) == TaskType.CAUSAL_LM:
            return None
        return (
            f"cannot work with {type(backbone).__name__}: PEFT hands no task to the prompt of an encoder, and no "
            "decoder input to the base of an encoder-decoder. Use a causal language model, or peft.PromptTuningConfig."
        )

    def adapt(self, backbone: PreTrainedModel) -> nn.Module:
        model = super().adapt(backbone)
        assert isinstance(model, PeftModel) and isinstance(self.config, MultitaskPromptTuningConfig)
        if self.config.num_tasks == 1:
            model.prompt_encoder["default"].register_forward_pre_hook(of_the_only_task)
        return model

    def inputs(self, batch: Batch) -> Mapping[str, Tensor]:
        assert isinstance(self.config, MultitaskPromptTuningConfig)
        if self.muted:
            return {}
        tasks, sources = self.config.num_tasks or 1, batch["source_id"]
        if tasks > 1 and int(sources.max()) >= tasks:
            raise UserError(
                f"model.adapter: {type(self.config).__name__} has num_tasks {tasks}, and a batch holds rows of source "
                f"{int(sources.max())} (counted from 0). Set num_tasks to the number of sources, or to 1."
            )
        return {"task_ids": sources} if tasks > 1 else {}


def of_the_only_task(encoder: nn.Module, inputs: tuple[Tensor, Tensor | None]) -> tuple[Tensor, Tensor]:
    indices, tasks = inputs
    return indices, indices.new_zeros(len(indices)) if tasks is None else tasks
