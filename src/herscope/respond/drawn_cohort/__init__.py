"""Drawn cohorts for response: tables, features of slides, CT and lesions whose truth is known."""
