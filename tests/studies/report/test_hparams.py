"""Read back with TensorBoard's own handlers, without torch and without TensorFlow."""

import subprocess
import sys

import pytest
from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2, backend_context, get_experiment, list_session_groups

from finelab.studies.report.hparams import numeric, write_hparams

from ..made_up_analysis import an_analysis


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """The handlers of the HParams plugin over what was written."""
    folder = tmp_path_factory.mktemp("log") / "hparams"
    write_hparams(an_analysis(arms=3), folder)
    multiplexer = plugin_event_multiplexer.EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(folder))
    multiplexer.Reload()
    provider = data_provider.MultiplexerDataProvider(multiplexer, str(folder))
    context = backend_context.Context(TBContext(data_provider=provider))
    metadata = context.hparams_metadata(RequestContext(), "x")
    experiment = get_experiment.Handler(RequestContext(), context, "x", api_pb2.GetExperimentRequest()).run()
    request = api_pb2.ListSessionGroupsRequest(
        start_index=0, slice_size=100, allowed_statuses=[0, 1, 2, 3], col_params=[]
    )
    assert metadata
    return experiment, list_session_groups.Handler(RequestContext(), context, "x", request).run()


def test_factors_are_hyperparameters_and_scores_are_metrics(read) -> None:
    experiment, _ = read
    assert {info.name for info in experiment.hparam_infos} == {"method", "seed", "model.optimizer.lr"}
    assert [info.name.tag for info in experiment.metric_infos] == [score.key for score in an_analysis().scores]


def test_every_cell_is_one_session_with_its_own_numbers(read) -> None:
    _, groups = read
    analysis = an_analysis(arms=3)
    assert groups.total_size == sum(arm.done for arm in analysis.arms)
    found = {group.name: group for group in groups.session_groups}
    for arm in analysis.arms:
        for point in arm.points["test/accuracy"]:
            own = found[point.cell]
            metrics = {value.name.tag: value.value for value in own.metric_values}
            assert metrics["test/accuracy"] == pytest.approx(point.value, rel=1e-6)
            assert own.hparams["method"].string_value == arm.name
            assert own.hparams["seed"].number_value == float(point.replicate)


def test_numbers_written_as_text_are_numbers_only_if_all_are() -> None:
    assert numeric([{"rows": "100", "lr": 1e-3, "m": "none"}, {"rows": "300", "m": "1"}]) == {"rows", "lr"}


def test_neither_torch_nor_tensorflow_is_imported() -> None:
    code = (
        "import sys, pathlib, tempfile\n"
        "from finelab.studies.report.write import write_report\n"
        "from finelab.studies.report import hparams\n"
        "early = [name for name in ('matplotlib', 'tensorboard', 'jinja2', 'numpy') if name in sys.modules]\n"
        "hparams._scalar('a', 1.0); hparams._write(pathlib.Path(tempfile.mkdtemp()) / 'x', [], 0.0)\n"
        "heavy = [name for name in ('torch', 'tensorflow', 'lightning', 'transformers') if name in sys.modules]\n"
        "assert not early + heavy, early + heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
