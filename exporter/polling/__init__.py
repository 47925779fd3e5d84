"""The sessions of each server: polled, kept up to date, and published as snapshots."""
