"""Parts without expert_outputs: embedding, MLP, matrix products, optimiser steps, memory."""
