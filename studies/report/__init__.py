"""An analysis as a page, as tables and as figures."""
