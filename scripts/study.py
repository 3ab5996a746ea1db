"""``finelab study``: many runs as one experiment; without torch, which its child processes load."""

from collections.abc import Sequence

from .studying.words import Words, read_words

STUDY = "study"
HELP = """\
usage: finelab study {plan,run,status,retry,report} FILE [--root DIR] [--trust-module NAME]

An ablation study: arms that differ in declared factors, each run with the same seeds, compared with error bars.

commands:
  plan       nothing is trained: arms and what each is compared with, cells, what is there already, how long the rest
             takes by one measured step of each arm, and what the design can and cannot show
  run        run every cell that has no result yet, then write the report; Ctrl-C stops cleanly, and the same command
             goes on
  status     every cell: its state, attempts, time and host; also beside a running study
  retry      run failed cells again; their logs are kept
  report     write the report again from the results that are there; nothing is trained

FILE is a study file (YAML, see configs/studies), or the folder of a study's results.

options:
  --root DIR             where the studies' results lie, instead of the study file's root
  --trust-module NAME    let configurations name classes of your own package; may be repeated
  --slots N              plan, run, retry: so many cells at a time, instead of the study file's engine.slots
  --no-measure           plan: do not try a training step of each arm, so that no time is estimated
  --fail-fast            run, retry: start no further cell after the first that failed for good
  --watch                status: show it again every two seconds until Ctrl-C
  --failed               retry: every cell that failed
  --cell ID              retry: this cell, by its id or the beginning of it; may be repeated

exit codes:
  0    done; of run and retry: every planned cell has a result
  1    cells failed for good, which the report names; or no finished cell has the study's metric
  2    something to put right before anything is run
  130  Ctrl-C; finelab study run FILE goes on

examples:
  finelab study plan configs/studies/adapters_x_regularizers.yaml
  finelab study run configs/studies/adapters_x_regularizers.yaml --slots 2
  finelab study status runs/adapters_x_regularizers --watch
  finelab study retry configs/studies/adapters_x_regularizers.yaml --failed
"""


def study(words: Sequence[str]) -> int:
    """Do what the words after ``finelab study`` say.

    Returns:
        The exit code, see ``HELP``.

    Raises:
        UserError: whatever the user can put right.
    """
    if not words or any(word in ("-h", "--help") for word in words):
        print(HELP, end="")
        return 0
    return execute(read_words(words))


def execute(words: Words) -> int:
    if words.verb == "plan":
        from .studying.planning import plan

        return plan(words)
    if words.verb == "status":
        from .studying.status import status

        return status(words)
    if words.verb == "retry":
        from .studying.retrying import retry

        return retry(words)
    if words.verb == "report":
        from .studying.reporting import report

        return report(words)
    from .studying.running import run

    return run(words)
