"""BUCK files to built and tested targets: evaluation to a plan, keys of targets, actions and tests."""
