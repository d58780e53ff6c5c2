"""Train the fusion network on a cohort: folds, scaling, batches, members, the model's folder."""
