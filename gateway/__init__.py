"""The policy compiler and the edge: contract in, configuration out. The only room that knows HTTP."""
