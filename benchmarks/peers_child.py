"""One measurement for ``peers.py``: trains one side in this process and prints a line of JSON.

sst2. Alike, from configs/sst2_lora.yaml: rows, tokenizer, base and its loading, mean pooling over real tokens with
dropout and one linear layer, LoRA (modules, rank, scale, dropout), rate and decay of AdamW, linear schedule, clipping
at 1, batches of 32, bfloat16 autocast over float32 weights, dynamic padding, rows of like length together, no worker
processes, no evaluation and no checkpoint. The peer's model is a small module around the same PEFT backbone rather than
``BertForSequenceClassification``, whose head pools otherwise: so both do the same arithmetic on a batch.

alpaca. Alike, from ``Recipe.alpaca``: LoRA, rate and decay of AdamW, schedule, clipping, batches of 16, float32, rows
of like length together. finelab tokenizes the rows (``prepare``), and TRL takes these very tokens and masks, so that
both learn the same answers. TRL's default of recomputing activations is off; its loss at supervised positions, and the
entropy and accuracy that it always takes of them, are as it comes.

finelab runs as ``finelab fit`` runs it, with its logger and the standard callbacks that act at every step; those that
only evaluate, draw and write before and after training are left out. The peer is at its best: no report, no progress
bar, a log line every 100 steps, fused AdamW (its default), rows in a plain list, no ``token_type_ids``. Each side
orders its rows in its own way, so the number of padded tokens differs; it is stated.

The clock runs from the start of the training loop to its end. Before, each side trains a model of its own for a few
steps and throws it away. Memory is the resident set: its peak over the process up to the loop's end, imports included,
and that peak less what was resident when the clock started.
"""

import argparse
import cProfile
import io
import json
import pstats
import tempfile
from pathlib import Path

from peers import BENCHMARKS, Task
from peers_common import Meter, Recipe, Side
from torch.profiler import ProfilerActivity, profile

WARM_STEPS = 5
PROFILED_STEPS = 40
SHOWN = 45
"""Lines of each table of a profile."""


def side_called(name: str) -> type[Side]:
    """Only the side in question is imported: what the other one loads is not its memory."""
    if name == "finelab":
        from peers_finelab import FinelabSide

        return FinelabSide
    if name == "trl":
        from peers_trl import TrlSide

        return TrlSide
    from peers_transformers import TransformersSide

    return TransformersSide


def write_profile(side: Side, file: Path) -> None:
    """Python functions and torch operations, from two short trainings: each profiler slows what the other would see."""
    functions, text = cProfile.Profile(), io.StringIO()
    calls, operations = Meter(functions), Meter(kernels := profile(activities=[ProfilerActivity.CPU]))
    side.train(calls, PROFILED_STEPS)
    side.train(operations, PROFILED_STEPS)
    for order in ("cumulative", "tottime"):
        pstats.Stats(functions, stream=text).strip_dirs().sort_stats(order).print_stats(SHOWN)
    table = kernels.key_averages().table("self_cpu_time_total", SHOWN, max_name_column_width=48)
    what = f"{PROFILED_STEPS} steps; {{:.2f}} s of training under {{}}\n\n"
    parts = [what.format(calls.seconds, "cProfile"), text.getvalue()]
    file.write_text("".join([*parts, what.format(operations.seconds, "torch.profiler"), table, "\n"]))


def main() -> None:
    parser = argparse.ArgumentParser(description="Run by peers.py.")
    parser.add_argument("side", choices=["prepare", *{side for one in BENCHMARKS.values() for side in one.sides}])
    parser.add_argument("task", type=lambda text: Task(**json.loads(text)))
    options = parser.parse_args()
    task: Task = options.task
    result = {}
    with tempfile.TemporaryDirectory() as scratch:
        if options.side == "prepare":
            from peers_finelab import write_tokens

            write_tokens(task, Recipe.of(task), Path(scratch))
        else:
            side = side_called(options.side)(task, Recipe.of(task), Path(scratch))
            side.train(Meter(), WARM_STEPS)
            if task.profile:
                write_profile(side, Path(task.profile))
            else:
                meter = Meter()
                examples, supervised = side.train(meter)
                result = meter.result(examples, supervised) | {"trainable_parameters": side.trainable_parameters()}
                result[BENCHMARKS[task.name].quality] = side.quality()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
