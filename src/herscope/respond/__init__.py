"""Response to treatment from slides, CT, reports and patient data, any of them missing."""
