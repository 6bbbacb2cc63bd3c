"""How machine code is made: compilation and its cache, memory by address, vectors of lanes."""
