"""One label a slide: bags of features, the models that read them, folds, and heatmaps."""
