"""One small study of real fits on every engine: the same weights, scores and order of rows to the last bit."""

import dataclasses
import hashlib
import os
import time

import pytest

from finelab.contracts.record import read_record
from finelab.studies.choices import Choices
from finelab.studies.controller import Controller
from finelab.studies.engines.engine_of import engine_of
from finelab.studies.engines.ray import Ray
from finelab.studies.engines.slurm import Slurm
from finelab.studies.plan import cells_of
from finelab.studies.planning import plan_of
from finelab.studies.study import EngineSpec
from finelab.studies.study_file import read_study

from ..running import AllAtOnce

BASE = """
trainer: {max_steps: 6, val_check_interval: 3, accelerator: cpu}
model:
  class_path: finelab.models.SequenceClassifier
  init_args:
    base: tiny://bert
    adapter: {class_path: peft.LoraConfig, init_args: {r: 4, lora_dropout: 0.1, target_modules: [query, value]}}
    optimizer: {class_path: torch.optim.AdamW, init_args: {lr: 1.0e-3}}
data: {class_path: finelab.data.StdlibDocs, init_args: {context: 32, batch_size: 8}}
"""
STUDY = """
study: small
base: base.yaml
factors:
  method:
    none: {}
    rdrop: {model.regularizers: [{class_path: finelab.models.regularizers.RDrop, init_args: {weight: 1.0}}]}
baseline: {method: none}
replicates: 2
metric: {name: accuracy, split: test}
"""
EQUAL = ("metrics", "history", "best", "order_digest", "order_trail", "config_digest", "parameters", "data", "seeds")


def made_by(run):
    record = read_record(run)
    files = [path for path in run.rglob("*") if path.suffix in (".safetensors", ".parquet")]
    assert record.status == "finished" and record.order_digest is not None
    assert any(path.suffix == ".safetensors" for path in files)
    digests = {str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    return digests, {name: getattr(record, name) for name in EQUAL}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The plan, and what its cells gave as fresh interpreters."""
    place = tmp_path_factory.mktemp("small")
    (place / "base.yaml").write_text(BASE)
    (place / "study.yaml").write_text(STUDY)
    plan = plan_of(read_study(place / "study.yaml", place / "runs"))
    cold = run(plan, "cold", lambda folder: engine_of(EngineSpec("local", {"slots": 2, "warm": False}), folder))
    return plan, cold


def run(plan, name, engine):
    cells = cells_of(plan, Choices())
    study = dataclasses.replace(plan.study, name=name)
    started = time.monotonic()
    outcome = Controller(study, AllAtOnce(cells), engine(study.folder)).run()
    print(f"{name}: {len(cells)} cells in {time.monotonic() - started:.1f} s")
    logs = [(study.folder / "cells" / cell.folder_name / "log.txt").read_text()[-2000:] for cell in cells]
    assert (outcome.complete, outcome.ran) == (True, len(cells)), logs
    return {cell.id: made_by(study.folder / "cells" / cell.folder_name / "run") for cell in cells}


@pytest.mark.slow
def test_warm_cells(small):
    plan, cold = small
    assert len(cold) == 4 and len({str(found[0]) for found in cold.values()}) == 4
    assert run(plan, "warm", lambda folder: engine_of(EngineSpec("local", {"slots": 2}), folder)) == cold


@pytest.mark.slow
def test_jobs_of_submitit(small):
    pytest.importorskip("submitit", reason="the extra finelab[slurm] is not installed")
    plan, cold = small
    assert run(plan, "jobs", lambda folder: Slurm(folder, slots=2, cluster="local")) == cold


@pytest.mark.slow
def test_two_nodes_of_ray(small, monkeypatch):
    pytest.importorskip("ray", reason="the extra finelab[ray] is not installed")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    from ray.cluster_utils import Cluster

    plan, cold = small
    node = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    cluster.add_node(**node)
    try:
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
        assert run(plan, "ray", lambda folder: Ray(folder)) == cold
    finally:
        cluster.shutdown()
    assert "RAY_ADDRESS" in os.environ
