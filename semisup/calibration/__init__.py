"""How far a model's confidence can be trusted, and the lowest threshold whose pseudo-labels are proven right enough.

Plain numpy in, frozen dataclasses out. Confidence is the largest probability; every rate is a fraction in [0, 1].
"""
