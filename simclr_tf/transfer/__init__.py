"""The transfer experiments (SimCLR appendix B.8): many fits on many data sets, and their table."""
