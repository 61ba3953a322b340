"""This machine: its memory, processes and signals, our own files, random generators."""
