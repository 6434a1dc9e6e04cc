"""What knows a network: model bundles, execution providers, segmenters."""
