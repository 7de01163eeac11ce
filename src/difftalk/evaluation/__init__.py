"""Measuring: metrics, protocols, report. Nothing else imports this."""
