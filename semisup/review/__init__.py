"""Which images are worth a person's look: those whose label would teach most, and labels that look wrong."""
