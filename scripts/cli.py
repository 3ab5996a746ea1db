"""The ``finelab`` command: reads the arguments, refuses what it can without torch, then starts Lightning's CLI."""

import sys
from collections.abc import Sequence

from ..contracts.errors import RunFailed, UserError
from ..contracts.inert import printable
from .early_signals import ending_cleanly
from .invocation import Invocation, read_invocation
from .options import CELL, CELLS, CHECK, COMPARE, DATA_REPORT, EXPORT, RESOLVE
from .precheck import precheck
from .resume import check_run, held, say_unfinished, started_elsewhere
from .run_directory import is_first_rank
from .study import STUDY, study

HELP = """\
usage: finelab {fit,check,validate,test,predict,export,data report} -c CONFIG [-c CONFIG ...] [--KEY VALUE ...]
       finelab compare RUN RUN ... [--output FILE]
       finelab study {plan,run,status,retry,report} FILE

The laboratory for fine-tuning methods: any adapter, any stack of regularizers, any data set.

commands:
  fit        train; evaluate before and after; leave a run directory
  check      look for what would go wrong, without training: data, special tokens, the first steps on the longest batch,
             time, memory and disk; exit code 1 where it found an error
  validate   evaluate on the validation split
  test       evaluate on the test split
  predict    read examples from a file or from stdin, write predictions
  export     merge a run's adapter and write plain Hugging Face weights, checked against the run on its own text
  compare    runs side by side: before and after, verdict, cost, which settings differ, how alike the conditions were,
             and what a difference between them can and cannot mean
  study      many runs as one experiment: arms x seeds from a study file, run, resumed and compared with error bars;
             finelab study --help
  data report    audit the data without training: duplicates, leaks, labels, lengths, odd rows; JSON and an HTML page

options:
  -c, --config CONFIG    a YAML file, or pkg://finelab.configs/quickstart.yaml for one that is shipped; several are
                         merged from left to right over the shipped defaults.yaml
  --KEY VALUE            one value, e.g. --trainer.max_epochs 5; lists are appended to with +=, e.g.
                         --model.regularizers+=finelab.models.regularizers.L2SP --model.regularizers.weight=0.01
  --run RUN              validate, test, predict, export: take configuration and weights from a run directory
  --input FILE|-         predict: JSONL, CSV or Parquet; - reads JSONL or CSV from stdin
  --output FILE|-        predict: JSONL or CSV; - writes JSONL to stdout; generated text appears as it is finished
  --resume RUN           fit: go on with a run that was interrupted, in its own directory, as if it had never stopped
  --ckpt_path STATE      fit: start a new run from a training state, RUN/checkpoints/state-NNNNNNNN
  --allow-change KEY     fit with either: the configuration may differ from the state's at KEY and below it, e.g.
                         trainer.max_epochs or model.optimizer; data.fingerprint for other data; may be repeated
  --resume               predict: go on with generated text in an --output that was interrupted
  --output FILE.json     check: write the findings as JSON too
  --output DIR           data report: where to write; data_reports/CONFIG if it is left out
                         export: the folder to make; one that holds anything is never overwritten
  --output FILE          compare: write it as FILE.json, FILE.md or FILE.csv too; may be repeated
  --no-check             fit: do not try the first steps before training; the cheap checks are always made
  --tolerance X          export: fail above this difference of two logits, as a share of the largest one; 1e-4 for
                         float32 weights, 2^-7 for float16 and 2^-4 for bfloat16 if it is left out
  --rows N               export: compare on so many rows of the validation split; 32 if it is left out
  --trust-module NAME    let a configuration name classes of your own package; may be repeated
  --print_config         print the resolved configuration and stop
  --version              print the version and stop

exit codes:
  0    done; of fit: record.json was read again, is valid and says finished
  1    a run that had begun to train and failed (record.json says how), a check that found an error, an export that does
       not agree, a mistake in somebody's code
  2    something to put right before anything is trained; nothing was left behind
  130  Ctrl-C; 143 SIGTERM, 138 SIGUSR1: fit finishes the step, saves, and says how to go on; before training it leaves
       nothing behind

examples:
  finelab check -c configs/quickstart.yaml
  finelab fit -c configs/quickstart.yaml
  finelab fit --resume runs/RUN
  finelab test --run runs/RUN
  finelab export --run runs/RUN --output exported
  finelab compare runs/RUN runs/OTHER
  finelab study run configs/studies/adapters_x_regularizers.yaml
  finelab fit --model.help finelab.models.SequenceClassifier      the options of one class
  finelab fit --model.adapter.help peft.LoraConfig
  finelab fit --model.regularizers.help finelab.models.regularizers.SAM
  finelab fit --model.learning_rates.help finelab.models.LayerDecay
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 on success, 1 if a run failed, check found an error or an export does not agree, 2 for anything that the user
        can put right before training, 128 + n after signal n.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help") or arguments in ([COMPARE, "-h"], [COMPARE, "--help"]):
        print(HELP, end="")
        return 0
    if arguments[0] == "--version":
        from importlib.metadata import version

        print(f"finelab {version('finelab')}")
        return 0
    try:
        return run_command(arguments)
    except RunFailed as error:
        say_error(error)
        return 1
    except UserError as error:
        say_error(error)
        return 2
    except KeyboardInterrupt:
        print("finelab: interrupted.", file=sys.stderr)
        return 130
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):  # Lightning has shut down and said so
            return 130
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)


def say_error(error: UserError) -> None:
    """Whatever a file or an argument says is echoed without a character that a terminal obeys."""
    print("finelab: " + printable(str(error), keep="\n\t"), file=sys.stderr)


def run_command(arguments: list[str]) -> int:
    if arguments[0] == COMPARE:
        from .compare import compare

        compare(arguments[1:])
        return 0
    if arguments[0] == STUDY:
        return study(arguments[1:])
    if arguments[0] == CELLS:
        from .warm import run_cells

        return run_cells()
    if arguments[0] == CELL:
        from .cell import cell

        return cell(arguments[1:])
    if arguments[0] == RESOLVE:
        from .resolve import resolve

        return resolve(arguments[1:])
    invocation = read_invocation(arguments)
    if invocation.run is not None:
        say_unfinished(invocation.run)
    with held(invocation.resumed):
        if invocation.resumed is not None and is_first_rank():
            check_run(invocation.resumed)
        precheck(invocation)
        # torch and Lightning take seconds: only now, when nothing cheap is wrong
        with ending_cleanly():
            try:
                return start(invocation)
            except RunFailed:
                raise
            except UserError as error:
                raise UserError(f"{error}{started_elsewhere(invocation.state)}") from error


def start(invocation: Invocation) -> int:
    if invocation.command == DATA_REPORT:
        from .data_report import report_data

        report_data(invocation)
    elif invocation.command == CHECK:
        from .check import check_configuration

        return check_configuration(invocation)
    elif invocation.command == EXPORT:
        from .export import export_run

        return export_run(invocation)
    else:
        from .lightning_cli import execute

        execute(invocation)
    return 0
