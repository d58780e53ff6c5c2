"""What moved the fusion model: parts, tokens, instances, pictures, and levels over a cohort."""
