"""The stages of the pipeline, one function each: wiring only, the work is done by the modules they call."""
