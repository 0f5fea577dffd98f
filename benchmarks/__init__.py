"""Measurements of the running platform; each prints ratios beside absolute figures."""
