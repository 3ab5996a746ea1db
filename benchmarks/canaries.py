"""Exposure of canaries while a small language model fine-tunes on five fairy tales.

    python benchmarks/canaries.py                          # both arms; about four minutes on a quiet core
    python benchmarks/canaries.py --arms lora --output smoke.json

Twelve secrets of six digits stand 1, 4 and 16 times among the training rows, each compared with 255 others that were
never inserted, every fourth epoch. The file holds the curves and what the run's record says of the weights that the
validation loss picks.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from finelab.data.files import READERS
from finelab.scripts.cli import main as finelab

RESULTS = Path(__file__).parent / "results" / "canaries.json"
SHARED = Path(os.environ.get("FINELAB_SHARED", "../shared"))
TALES = {"train": 5, "validation": 2}
LORA = {"class_path": "peft.LoraConfig", "init_args": {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"}}
ARMS: dict[str, tuple[Any, int]] = {
    "full": ({"class_path": "finelab.models.adapters.Full"}, 40),
    "lora": (LORA, 12),
}
"""Adapter and epochs."""
CURVES = ("val/nll", "canary/exposure", "canary/exposure_x1", "canary/exposure_x4", "canary/exposure_x16")


def tales(folder: Path) -> str:
    """The first tales of each split."""
    for split, count in TALES.items():
        rows = READERS[".jsonl.gz"](SHARED / "data" / "grimm_tales" / f"{split}.jsonl.gz", lambda *_: None)
        texts = [{"text": row.fields["text"]} for row, _ in zip(rows, range(count), strict=False)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(text) + "\n" for text in texts))
    return str(folder)


def config(adapter: Any, epochs: int, source: str) -> dict[str, Any]:
    measure = {"class_path": "finelab.callbacks.CanaryExposure", "init_args": {"references": 255}}
    return {
        "seeds": 1,
        "trainer": {
            "max_epochs": epochs,
            "accelerator": "cpu",
            "enable_progress_bar": False,
            "check_val_every_n_epoch": 4,
            "callbacks": [measure],
        },
        "model": {
            "class_path": "finelab.models.CausalLM",
            "init_args": {
                "base": str(SHARED / "models" / "stories260K"),
                "adapter": adapter,
                "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 2.0e-3, "weight_decay": 0.0}},
            },
        },
        "data": {
            "class_path": "finelab.data.TextDataModule",
            "init_args": {
                "source": {"class_path": "finelab.data.Canaries", "init_args": {"source": source}},
                "template": {"class_path": "finelab.data.Documents"},
                "context": 128,
                "batch_size": 16,
            },
        },
    }


def summary(run: Path) -> dict[str, Any]:
    """The curves of a run, and its finding."""
    events = EventAccumulator(str(run)).Reload()
    record = json.loads((run / "record.json").read_text())
    curves = {tag: [[event.step, round(event.value, 4)] for event in events.Scalars(tag)] for tag in CURVES}
    return {"best": record["best"], "finding": record["findings"]["canary_exposure"], "curves": curves}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    found = json.loads(options.output.read_text()) if options.output.exists() else {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for arm in options.arms:
            adapter, epochs = ARMS[arm]
            file = folder / f"{arm}.yaml"
            file.write_text(yaml.safe_dump(config(adapter, epochs, tales(folder))))
            if code := finelab(["fit", "-c", str(file), "--run.root", str(folder / "runs"), "--run.name", arm]):
                raise SystemExit(code)
            found[arm] = summary(folder / "runs" / arm)
    options.output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
