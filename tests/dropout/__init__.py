"""Tests of dropout."""
