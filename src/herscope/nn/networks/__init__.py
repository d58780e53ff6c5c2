"""The networks, written from their papers in plain torch; imported by name through ``registry``."""
