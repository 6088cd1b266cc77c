"""AVO's engine: the variation loop, its operators, the gate, the lineage and the scorer."""

__version__ = "0.1.0"
