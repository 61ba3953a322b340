"""What a model says where images may come from elsewhere: are two samples alike, and how right are audited labels?

Plain numpy in, numbers and frozen dataclasses out.
"""
