"""What computes a network's answers once it is trained: torch, or what OpenVINO makes of it; measured, not guessed."""
