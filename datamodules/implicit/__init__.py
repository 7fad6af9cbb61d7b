"""User-item feedback, ranked leave-one-out."""
