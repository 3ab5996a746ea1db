"""``finelab data report``: audit the data of a configuration; no model is built and nothing is trained."""

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace
from lightning.pytorch import LightningDataModule

from ..callbacks.data_report import PAGE_FILE, write_report
from ..contracts.data import AuditedSource
from ..contracts.errors import UserError
from . import allowlist
from .invocation import Invocation
from .lightning_cli import FinelabCLI

ROOT = Path("data_reports")


class DataReportCLI(FinelabCLI):
    """Parses a configuration as fit does and builds its data module alone."""

    def instantiate_classes(self) -> None:
        """The links that hold while parsing have filled in the base and the seed by now."""
        parser = ArgumentParser()
        parser.add_subclass_arguments(LightningDataModule, "data")
        self.datamodule = parser.instantiate_classes(Namespace(data=self.config["fit"]["data"]))["data"]

    def _run_subcommand(self, subcommand: str) -> None:
        folder = ROOT / self.invocation.stem if self.invocation.output is None else Path(self.invocation.output)
        if not isinstance(self.datamodule, AuditedSource):
            raise UserError(
                f"data: {type(self.datamodule).__name__} has no report (finelab.contracts.data.AuditedSource); there is "
                "nothing to show."
            )
        self.datamodule.prepare_data()
        self.datamodule.setup("fit")
        print(self.datamodule.render_report(), end="\n\n")
        write_report(self.datamodule.report, folder)
        print(f"The whole report: {folder / PAGE_FILE} (and the same as JSON beside it).")


def report_data(invocation: Invocation) -> None:
    """Print the short report and write the whole one.

    Raises:
        UserError: whatever the user can put right.
    """
    allowlist.enforce(invocation.trusted)
    DataReportCLI(invocation)
