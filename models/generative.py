"""A model that writes text: what causal language models and encoder-decoders have in common."""

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, cast

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import (
    AutoTokenizer,
    GenerationConfig,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from ..contracts.batch import Batch
from ..contracts.errors import UserError
from ..contracts.uri import resolve
from .finetuner import FineTuner
from .generation import CountedNLL, CountedSampling, Generated, Generation, padded_left, padded_right
from .sharding import require_whole

SPECIALS = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id", "forced_bos_token_id")


class Generative(FineTuner):
    """A fine-tuned base that generates, for batches without ``labels`` and for metrics of what it writes.

    Args:
        generation: how; greedy by default.
    """

    def __init__(self, *args: Any, generation: Generation | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.generation = generation or Generation()
        self.carried: dict[str, str] = {}

    @abstractmethod
    def asked(self, batch: Batch) -> tuple[list[list[int]], list[list[int]]]:
        """Per row, the tokens to answer (without pads) and, where the batch has labels, the answer's tokens."""

    def manifest(self) -> dict[str, Any]:
        """With what was ``carried`` along from the data: the chat template and its hash."""
        return super().manifest() | self.carried

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        path = resolve(self.base).path
        return AutoTokenizer.from_pretrained(path, revision=self.loading.revision, trust_remote_code=False)

    @property
    def pretrained(self) -> PreTrainedModel:
        """The pretrained model inside."""
        inner = self.adapted.get_base_model() if isinstance(self.adapted, PeftModel) else self.adapted
        return cast(PreTrainedModel, inner)

    @cached_property
    def writer(self) -> PreTrainedModel:
        """The pretrained model inside. Of its own generation settings only the special tokens are kept, so that no
        sampling or penalty of a publisher's file decides about a metric."""
        model = self.pretrained
        own = model.generation_config or GenerationConfig()
        model.generation_config = GenerationConfig(**{name: getattr(own, name) for name in SPECIALS})
        return model

    @cached_property
    def stops(self) -> list[int]:
        """The tokenizer's EOS, and whatever else the base ends a turn with."""
        assert self.writer.generation_config is not None
        own = self.writer.generation_config.eos_token_id
        listed = own if isinstance(own, list) else [own]
        return sorted({i for i in (*listed, self.tokenizer.eos_token_id) if isinstance(i, int)})

    @property
    def pad(self) -> int:
        pad = self.tokenizer.pad_token_id
        return pad if isinstance(pad, int) else self.stops[0]

    def generate(self, batch: Batch, generation: Generation | None = None) -> list[Generated]:
        """Answers to every row, the same whatever rows stand beside it (up to rounding).

        Causal models get their prompts left-padded. A row ends at a stop token, when its budget is spent, or where the
        base's positions end. The caller decides about mode and gradients.

        Args:
            batch: with or without labels, which are not looked at beyond where the prompt ends.
            generation: the module's own by default.
        """
        require_whole(self.model)
        own = generation or self.generation
        prompts, _ = self.asked(batch)
        samples = batch["sample_id"].tolist()
        extra = self.adapter.inputs(batch)
        groups: dict[int, list[int]] = defaultdict(list)
        for row, prompt in enumerate(prompts):
            groups[self.budget(prompt, own)].append(row)
        found: dict[int, Generated] = {}
        for budget, rows in groups.items():
            ids, more = [samples[row] for row in rows], {name: x[rows] for name, x in extra.items()}
            asked = [prompts[row] for row in rows]
            written, nll = self.write(asked, ids, own, budget, more) if budget else ([[]] * len(rows), [[]] * len(rows))
            for row, new, nats in zip(rows, written, nll or [None] * len(rows), strict=True):
                found[row] = Generated.of(new, self.stops, budget, nats)
        return [found[row] for row in range(len(prompts))]

    def budget(self, prompt: Sequence[int], generation: Generation) -> int:
        """New tokens that a row may have: less than asked for where the base's positions end."""
        positions = getattr(self.writer.config, "max_position_embeddings", None)
        if positions is None:
            return generation.max_new_tokens
        taken = 0 if self.writer.config.is_encoder_decoder else len(prompt) + self.adapter.preceding
        return max(0, min(generation.max_new_tokens, positions - taken))

    def write(
        self,
        prompts: list[list[int]],
        rows: list[int],
        generation: Generation,
        budget: int,
        more: Mapping[str, Tensor],
    ) -> tuple[list[list[int]], list[list[float]] | None]:
        """New tokens of rows that share a budget, perhaps with some behind the one that stops, and the nats of each."""
        sampling = CountedSampling(generation, rows) if generation.samples else None
        counted = CountedNLL(sampling)
        adapted = self.adapted
        encodes = self.writer.config.is_encoder_decoder
        if is_prompt_learner(adapted):
            if encodes or generation.beams > 1:
                raise UserError(
                    f"model.adapter: {type(cast(PeftModel, adapted).active_peft_config).__name__} generates with "
                    "decoder-only models and without beams only; choose another adapter, e.g. peft.LoraConfig."
                )
            return self.write_without_cache(prompts, counted, budget, more), counted.by_row()
        ids, mask = (padded_right if encodes else padded_left)(prompts, self.pad)
        config = GenerationConfig(
            max_new_tokens=budget,
            num_beams=generation.beams,
            do_sample=False,
            use_cache=True,
            eos_token_id=self.stops,
            pad_token_id=self.pad,
        )
        output = cast(Any, adapted).generate(
            input_ids=ids.to(self.device),
            attention_mask=mask.to(self.device),
            generation_config=config,
            logits_processor=LogitsProcessorList([counted] if generation.beams == 1 else []),
            **more,
        )
        new = cast(Tensor, output)[:, 1 if encodes else ids.shape[1] :].tolist()
        return new, counted.by_row() if generation.beams == 1 else None

    def write_without_cache(
        self, prompts: list[list[int]], counted: CountedNLL, budget: int, more: Mapping[str, Tensor]
    ) -> list[list[int]]:
        """Prompt tuners put virtual tokens before each row's own, which a cache of theirs would count anew: whole
        passes, right-padded as in training, cost more and are the same function."""
        texts = [list(prompt) for prompt in prompts]
        for _ in range(budget):
            ids, mask = (part.to(self.device) for part in padded_right(texts, self.pad))
            logits = self.adapted(input_ids=ids, attention_mask=mask, **more).logits.float()
            at = self.adapter.virtual_tokens + mask.sum(1) - 1
            scores = logits[torch.arange(len(texts), device=at.device), at]
            chosen = counted(ids, scores).argmax(-1).tolist()
            for text, token in zip(texts, chosen, strict=True):
                text.append(token)
            if all(set(text[len(prompt) :]) & set(self.stops) for text, prompt in zip(texts, prompts, strict=True)):
                break
        return [text[len(prompt) :] for text, prompt in zip(texts, prompts, strict=True)]

    def decoded(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, list]:
        """Text for batches that ask for it, scores for the others; one entry per row."""
        if "labels" in batch:
            return super().predict_step(batch, batch_idx)
        found = self.generate(batch)
        return {
            "sample_id": batch["sample_id"].tolist(),
            "source_id": batch["source_id"].tolist(),
            "text": [self.decoded(row.ids) for row in found],
            "ended": [row.ended for row in found],
        }


def unpadded(ids: Tensor, mask: Tensor) -> list[list[int]]:
    """[B, T] to each row's own tokens."""
    return [row[keep].tolist() for row, keep in zip(ids, mask.bool(), strict=True)]


def is_prompt_learner(model: nn.Module) -> bool:
    return isinstance(model, PeftModel) and bool(model.active_peft_config.is_prompt_learning)
