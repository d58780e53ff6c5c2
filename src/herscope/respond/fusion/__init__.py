"""One network over slides, CT and what is written about a patient, any of them missing."""
