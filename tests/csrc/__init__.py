"""Tests of csrc."""
