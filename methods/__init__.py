"""Tuning methods. One file is one method; its name is the file name."""
