"""Losses, datasets, augmentation and the trainer; needs torch."""
