"""What is known of each patient: tables, response label, report tokens, contradictions."""
