"""Many runs side by side: their settings, and what their metrics say on the same rows."""
