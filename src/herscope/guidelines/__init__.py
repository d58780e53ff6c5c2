"""Clinical scoring rules as pure functions over counts; each result names the rule that fired."""
