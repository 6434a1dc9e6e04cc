"""Benchmarks: ratios against a baseline in the same run, for shared and noisy machines."""
