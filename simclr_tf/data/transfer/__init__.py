"""The 12 data sets of the transfer experiments (SimCLR appendix B.8), from their official files."""
