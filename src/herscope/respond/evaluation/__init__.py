"""What predictions of response are worth: every figure of a cohort, with method and counts."""
