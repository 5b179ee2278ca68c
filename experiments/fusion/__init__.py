"""Two-stream segmentation: which fusion of frame and flow is least static, and best on camouflaged objects."""
