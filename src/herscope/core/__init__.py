"""Values everything else is made of: errors, units, Specs, the store."""
