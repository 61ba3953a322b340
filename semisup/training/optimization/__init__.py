"""What a step of the optimizer is made of: schedules, precision, compilation, batch norm."""
