"""Studies, shipped with the package: pkg://finelab.configs.studies/NAME.yaml."""
