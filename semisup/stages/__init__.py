"""One file per stage: load what earlier stages left, call the library, save.

What is known of each stage stands in :mod:`semisup.pipeline.specs`, their order in :mod:`semisup.pipeline.plan`.
"""
