"""Listening sessions, cut in half."""
