"""What explains a black box by its feature interactions (GLIDER, Tsang et al., ICLR 2020)."""
