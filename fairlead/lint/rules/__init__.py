"""The rules that come with Fairlead, one a module, listed in `fairlead.lint.selection`."""
