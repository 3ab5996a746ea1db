"""Generation evaluation in batches beside one `generate` call for each example: in turns, in one process, one thread.

    python benchmarks/generation.py                            # four settings; about three minutes on a quiet core
    python benchmarks/generation.py --settings stories-tales --rows 8 --rounds 1 --output smoke.json

Both sides answer the same first questions of a validation split greedily with a key-value cache, through
``GenerationMetrics.observe``, so that reading the split and decoding the answers is in both times. They are timed in
turns; a ratio is that of the medians. The texts of both sides have to be the same.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning as L
import psutil
import torch
from transformers import GenerationConfig

from finelab.callbacks import GenerationMetrics
from finelab.callbacks.questions import Question, Written
from finelab.data import Instruction, PromptResponse, TextDataModule
from finelab.data.files import READERS
from finelab.data.loader_options import LoaderOptions
from finelab.models import CausalLM, Generation
from finelab.models.adapters import Full

RESULTS = Path(__file__).parent / "results" / "generation.json"
SHARED = Path(os.environ.get("FINELAB_SHARED", "../shared"))
SIZES = (8, 16, 32)
LOOP = "one by one"
BEGINNING, REST = 120, 60
"""Characters of a tale that are given, and that are its continuation."""


@dataclass(frozen=True)
class Setting:
    """A base, the questions it is asked, and how much it may answer."""

    base: str
    context: int
    tales: bool
    new_tokens: int = 64
    """At most; less where the base's positions end."""


SETTINGS = {
    "stories-tales": Setting("stories260K", 512, tales=True),
    "stories-alpaca": Setting("stories260K", 512, tales=False),
    "babyllama-tales": Setting("babyllama-361", 256, tales=True),
    "babyllama-alpaca": Setting("babyllama-361", 256, tales=False),
}


class OneByOne(GenerationMetrics):
    """The same evaluation with a call of transformers' ``generate`` for each question."""

    def _answers(self, module: Any, questions: Sequence[Question], size: int) -> dict[int, Written]:
        found = {}
        for question in questions:
            budget = module.budget(question.prompt, replace(module.generation, max_new_tokens=self.max_new_tokens))
            ids = torch.tensor([question.prompt])
            config = GenerationConfig(
                max_new_tokens=budget, do_sample=False, eos_token_id=module.stops, pad_token_id=module.pad
            )
            new = module.writer.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)[0]
            text = module.decoded(new[ids.shape[1] :].tolist())
            found[question.samples[0]] = Written(text, len(new) - ids.shape[1])
        return found


def tales(folder: Path) -> dict[str, str]:
    """Beginnings of paragraphs of fairy tales with what follows, in files of the shape that the data module reads."""
    files = {}
    for split in ("train", "validation"):
        rows = []
        for row in READERS[".jsonl.gz"](SHARED / "data" / "grimm_tales" / f"{split}.jsonl.gz", lambda *_: None):
            text = str(row.fields["text"])
            for start in range(0, len(text) - BEGINNING - REST, 4 * (BEGINNING + REST)):
                # Beginnings of different lengths, as questions have.
                given = text[start : start + BEGINNING // 2 + (start // 7) % BEGINNING]
                rows.append({"prompt": given, "response": text[start + len(given) :][:REST]})
        files[split] = str(folder / f"{split}.jsonl")
        Path(files[split]).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return files


def data_of(setting: Setting, folder: Path, size: int) -> TextDataModule:
    if setting.tales:
        source, template = tales(folder), PromptResponse(too_long="shorten")
    else:
        source, template = SHARED / "data" / "alpaca_demo", Instruction(supervise="assistant", too_long="shorten")
    return TextDataModule(
        source,
        template,
        str(SHARED / "models" / setting.base),
        context=setting.context,
        loader=LoaderOptions(evaluation_batch_size=size),
        cache_dir=str(folder / "cache"),
    )


def measured(setting: Setting, rows: int, rounds: int) -> dict[str, Any]:
    """Seconds of each side and round, and what both wrote."""
    module = CausalLM(
        str(SHARED / "models" / setting.base), Full(), torch.optim.SGD, generation=Generation(setting.new_tokens)
    )
    module.configure_model()
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    module.trainer = trainer
    with tempfile.TemporaryDirectory() as folder:
        sides: dict[str, tuple[GenerationMetrics, Any]] = {}
        for size in SIZES:
            loader = data_of(setting, Path(folder), size).evaluation_loader("validation")
            sides[f"batches of {size}"] = GenerationMetrics(["chrf"], rows, setting.new_tokens), loader
        sides[LOOP] = OneByOne(["chrf"], rows, setting.new_tokens), sides[f"batches of {SIZES[0]}"][1]
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        busy: dict[str, list[float]] = {name: [] for name in sides}
        answered: dict[str, list[Question]] = {}
        for turn in range(-1, rounds):  # the first is a warm-up
            for name, (metrics, loader) in sides.items():
                wall, cpu = time.perf_counter(), time.process_time()
                answered[name] = metrics.observe(module, loader, trainer)
                if turn >= 0:
                    seconds[name].append(time.perf_counter() - wall)
                    busy[name].append(time.process_time() - cpu)
    return {"seconds": seconds, "cpu_seconds": busy, "answered": answered}


def summary(setting: Setting, found: dict[str, Any]) -> dict[str, Any]:
    """Raises:
    SystemExit: the sides wrote different texts.
    """
    questions = found["answered"][LOOP]
    texts = {name: [question.written.text for question in own] for name, own in found["answered"].items()}
    alike = {name: sum(map(str.__eq__, own, texts[LOOP])) for name, own in texts.items()}
    lengths, count = [len(question.prompt) for question in questions], len(questions)
    if min(alike.values()) < count:
        raise SystemExit(f"the sides wrote different texts: {alike} of {count} are alike")
    medians = {
        clock: {name: statistics.median(own) for name, own in found[clock].items()}
        for clock in ("seconds", "cpu_seconds")
    }
    return {
        "base": setting.base,
        "questions": count,
        "prompt_tokens": [min(lengths), max(lengths)],
        "written_tokens": sum(question.written.tokens for question in questions),
        "same_texts": f"{count} of {count}",
        "seconds": found["seconds"],
        "cpu_seconds": found["cpu_seconds"],
        "medians": medians,
        "ratios": {
            clock: {name: own[LOOP] / value for name, value in own.items() if name != LOOP}
            for clock, own in medians.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--rows", type=int, default=24, help="questions")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    known = json.loads(options.output.read_text())["settings"] if options.output.exists() else {}
    about = {
        "python": platform.python_version(),
        **{package: version(package) for package in ("torch", "transformers", "lightning")},
        "threads": torch.get_num_threads(),
        "cores": psutil.cpu_count(),
    }
    for name in options.settings:
        load = psutil.getloadavg()[0]
        known[name] = summary(SETTINGS[name], measured(SETTINGS[name], options.rows, options.rounds))
        known[name]["load_average_before"] = load
        for clock, ratios in known[name]["ratios"].items():
            print(name, clock, {side: f"{ratio:.2f}" for side, ratio in ratios.items()}, flush=True)
        options.output.write_text(json.dumps({"about": about, "settings": known}, indent=1) + "\n")


if __name__ == "__main__":
    main()
