"""Learning on what a frozen network makes of images: an embedding, a neighbor graph, a probe at its optimum.

Plain functions of feature tables (N, D). Nothing here knows stages or configs.
"""
