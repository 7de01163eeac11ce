"""The report: outcomes, averages, plots and the page."""
