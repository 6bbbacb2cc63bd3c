"""How a batch of networks is advanced: each engine joins a right-hand side with the integrator."""
