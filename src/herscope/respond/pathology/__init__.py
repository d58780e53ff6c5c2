"""Pathology of a patient: features of words, gathered into bags, with radiomics of each bag."""
