"""A checkpoint as a folder that serves without this project."""
