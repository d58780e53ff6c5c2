"""CT into numbers: volumes, masks, lesions, windows and the pictures a network is shown."""
