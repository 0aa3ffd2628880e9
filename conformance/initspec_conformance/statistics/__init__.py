"""Statistics of samples: laws, checks with derived thresholds, the diagnosis, and their proof."""
