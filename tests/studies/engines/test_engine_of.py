"""From a study file's words to an engine."""

import subprocess
import sys

import pytest

from finelab.contracts.errors import UserError
from finelab.studies.engines.engine_of import engine_of
from finelab.studies.engines.local import Local
from finelab.studies.engines.process_launcher import ProcessLauncher
from finelab.studies.engines.ray import Ray
from finelab.studies.engines.slurm import Slurm
from finelab.studies.engines.warm_launcher import WarmLauncher
from finelab.studies.study import EngineSpec


@pytest.mark.parametrize(("options", "kind"), [({}, WarmLauncher), ({"warm": False}, ProcessLauncher)], ids=str)
def test_local_cells_are_warm_unless_that_is_switched_off(tmp_path, options, kind):
    engine = engine_of(EngineSpec("local", {"slots": 2, **options}), tmp_path)
    assert isinstance(engine, Local) and engine.slots == 2 and isinstance(engine._launcher, kind)


def test_clusters(tmp_path):
    ray = engine_of(EngineSpec("ray", {"address": "head:1", "gpus": 0.5}), tmp_path)
    slurm = engine_of(EngineSpec("slurm", {"sbatch": {"partition": "gpu"}, "gpus": 1}), tmp_path)
    assert isinstance(ray, Ray) and ray.need == {"CPU": 1, "GPU": 0.5}
    assert isinstance(slurm, Slurm) and slurm._parameters()["slurm_partition"] == "gpu"


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (EngineSpec("local", {"slot": 2}), "engine.slot is no option of the engine local; did you mean 'slots'?"),
        (EngineSpec("local", {"launcher": 2}), "engine.launcher is no option of the engine local"),
        (EngineSpec("local", {"warm": "no"}), "engine.warm is 'no'; give true or false."),
        (
            EngineSpec("ray", {"adress": "head:1"}),
            "engine.adress is no option of the engine ray; did you mean 'address'?",
        ),
        (EngineSpec("slurm", {"folder": "x"}), "engine.folder is no option of the engine slurm"),
        (EngineSpec("dask"), "engine.name is 'dask'; there are local, ray and slurm."),  # pyright: ignore
    ],
    ids=lambda value: value.name if isinstance(value, EngineSpec) else "",
)
def test_what_no_engine_knows(tmp_path, spec, said):
    with pytest.raises(UserError) as refused:
        engine_of(spec, tmp_path)
    assert said in str(refused.value)


def test_ray_and_submitit_are_imported_where_they_are_opened_only():
    script = (
        "import sys\nfrom pathlib import Path\nfrom finelab.studies.engines.engine_of import engine_of\n"
        "from finelab.studies.study import EngineSpec\n"
        "engine_of(EngineSpec('local'), Path()); engine_of(EngineSpec('slurm'), Path())\n"
        "engine_of(EngineSpec('ray', {'address': 'head:1'}), Path())\n"
        "print(sorted({'ray', 'submitit', 'torch', 'numpy'} & sys.modules.keys()))"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"
