"""Which interactions pay as cross fields: by what they gain on rows."""
