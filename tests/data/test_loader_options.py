import pytest

from finelab.contracts.errors import UserError
from finelab.data.loader_options import LoaderOptions


@pytest.mark.parametrize("wrong", [{"num_workers": -1}, {"evaluation_batch_size": -1}, {"evaluation_batch_size": 0}])
def test_numbers_that_make_no_batch_are_refused(wrong):
    with pytest.raises(UserError, match=" {} must be| {} at least".format(*2 * list(wrong.values()))):
        LoaderOptions(**wrong)
