"""Real processes: two ranks that leave the run of one, and Ctrl-C."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file

from finelab.contracts.record import read_record
from finelab.contracts.state_folder import latest_state, verify

PROGRAM = "import sys; from finelab.scripts.cli import main; sys.exit(main(sys.argv[1:]))"
LAUNCHERS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_NTASKS", "MASTER_ADDR", "MASTER_PORT")


def start(*words: object, **options) -> subprocess.Popen:
    """``finelab`` in a process of its own; a script file, since Lightning starts the other ranks by its path."""
    Path("finelab_command.py").write_text(PROGRAM)
    environment = {key: value for key, value in os.environ.items() if key not in LAUNCHERS}
    command = [sys.executable, "finelab_command.py", *map(str, words)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, **options
    )


def finished(process: subprocess.Popen) -> None:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, out + err
    assert "sync_dist" not in out + err, "Lightning's advice about metrics that are those of all ranks already"


def test_two_ranks_leave_the_run_of_one(config, here):
    """On a base without dropout, since each rank draws masks of its own."""
    content = yaml.safe_load(config().read_text())
    content["model"]["init_args"] |= {"base": "tiny://llama", "head_dropout": 0.0}
    content["model"]["init_args"]["optimizer"] = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}}
    file = here / "plain.yaml"
    file.write_text(yaml.safe_dump(content))
    two = ["--trainer.devices", 2, "--trainer.strategy", "ddp", "--data.batch_size", 4]
    processes = [start("fit", "-c", file, "--run.name", "one"), start("fit", "-c", file, "--run.root", "both", *two)]
    for process in processes:
        finished(process)
    (both,) = (here / "both").iterdir()
    one, other = read_record(here / "runs" / "one"), read_record(both)
    assert (one.status, other.status, other.hardware["ranks"]) == ("finished", "finished", 2)
    assert other.order_digest == one.order_digest is not None
    assert other.cost.steps == one.cost.steps == 3
    assert other.cost.examples == one.cost.examples == 24
    for name in ("adapter_model.safetensors", "head.safetensors"):
        expected, found = (load_file(run / "checkpoints" / "last" / name) for run in (here / "runs" / "one", both))
        assert expected.keys() == found.keys()
        for key, value in expected.items():
            assert found[key] == pytest.approx(value, abs=1e-6), key


@pytest.mark.slow
def test_two_ranks_in_shards_leave_the_run_of_one(config, here):
    """FSDP2 from YAML, with the checks before training and the evaluations around it."""
    content = yaml.safe_load(config().read_text())
    content["model"]["init_args"] |= {"base": "tiny://llama", "head_dropout": 0.0}
    content["model"]["init_args"]["regularizers"] = [{"class_path": "finelab.models.regularizers.L2SP"}]
    content["model"]["init_args"]["optimizer"] = {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.001}}
    (here / "one.yaml").write_text(yaml.safe_dump(content))
    place = {"data_parallel_size": 2, "tensor_parallel_size": 1}
    strategy = {"class_path": "lightning.pytorch.strategies.ModelParallelStrategy", "init_args": place}
    content["trainer"] |= {"devices": 2, "accelerator": "cpu", "strategy": strategy}
    content["data"]["init_args"]["batch_size"] = 4
    (here / "two.yaml").write_text(yaml.safe_dump(content))
    for name in ("one", "two"):
        finished(start("fit", "-c", here / f"{name}.yaml", "--run.name", name))
    one, two = (read_record(here / "runs" / name) for name in ("one", "two"))
    assert (one.status, two.status, two.hardware["ranks"]) == ("finished", "finished", 2)
    assert two.order_digest == one.order_digest and two.parameters == one.parameters
    assert two.metrics["validation"].after == pytest.approx(one.metrics["validation"].after, rel=1e-4)
    for name in ("adapter_model.safetensors", "head.safetensors"):
        expected, found = (load_file(here / "runs" / run / "checkpoints" / "last" / name) for run in ("one", "two"))
        assert expected.keys() == found.keys()
        assert all((found[key] - value).abs().max() < 1e-5 for key, value in expected.items())


def test_ctrl_c_is_recorded(config, here):
    file = config("max_epochs: 1", "max_epochs: 10000")
    # Without early stopping, which would end a run that validates at every step before the signal arrives.
    options = ("--trainer.val_check_interval", 1, "--trainer.callbacks", "null")
    process = start("fit", "-c", file, "--run.name", "one", *options)
    last = here / "runs" / "one" / "checkpoints" / "best"
    deadline = time.monotonic() + 60
    while not last.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out + err
    assert "Traceback" not in err + out
    record = read_record(here / "runs" / "one")
    assert (record.status, record.error["message"]) == ("interrupted", "stopped by SIGINT") and record.cost.steps > 0
    state = latest_state(here / "runs" / "one")
    assert state is not None and verify(state)["step"] == record.cost.steps


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_to_either_rank_stops_both(rank, config, here):
    file = config("max_epochs: 1", "max_epochs: 10000")
    options = ("--trainer.val_check_interval", 1, "--trainer.callbacks", "null")
    two = ("--trainer.devices", 2, "--trainer.strategy", "ddp")
    process = start("fit", "-c", file, "--run.name", "one", *options, *two)
    best = here / "runs" / "one" / "checkpoints" / "best"
    deadline = time.monotonic() + 300
    while not best.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert best.exists()
    (child,) = map(int, Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split())
    os.kill((process.pid, child)[rank], signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 143, out + err
    assert not Path(f"/proc/{child}").exists()
    record, state = read_record(here / "runs" / "one"), latest_state(here / "runs" / "one")
    assert (record.status, record.error["message"]) == ("interrupted", "stopped by SIGTERM")
    assert state is not None and verify(state)["step"] == record.cost.steps > 0
