"""From a finished run on disk to pages people read and files QuPath opens; no slide is needed."""
