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

    def build(self) -> None:
        """The links that hold while parsing have filled in the base and the seed by now."""
        parser = ArgumentParser()
        parser.add_subclass_arguments(LightningDataModule, "data")
        self.datamodule: LightningDataModule = parser.instantiate(Namespace(data=self.config["fit"]["data"]))["data"]

    def _run_subcommand(self, subcommand: str) -> None:
        folder = ROOT / self.invocation.stem if self.invocation.output is None else Path(self.invocation.output)
        data = self.datamodule
        data.prepare_data()
        data.setup("fit")
        if not isinstance(data, AuditedSource):
            raise UserError(
                f"data: {type(data).__name__} has no report (it is no finelab.contracts.data.AuditedSource); there "
                "is nothing to show."
            )
        print(data.render_report(), end="\n\n")
        write_report(data.report, folder)
        print(f"The whole report: {folder / PAGE_FILE} (and the same as JSON beside it).")


def report_data(invocation: Invocation) -> None:
    """Print the short report and write the whole one.

    Raises:
        UserError: whatever the user can put right.
    """
    allowlist.enforce(invocation.trusted)
    DataReportCLI(invocation)
