"""How facts become documents: pure rules (`merging`), and the one place that writes (`writer`)."""
