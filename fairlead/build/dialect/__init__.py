"""The language of BUCK and .bzl files, on CPython's own compiler.

`syntax` turns source into code after refusing what the language does not have; `values` are its containers;
`functions` its built-in functions; `fault` its errors; `run` puts them together. Nothing here knows what a
target is.

Why not an embedded Starlark: values would cross a border at each call, and rules could not hold our objects.
The price: this is a dialect, checked at the places where CPython differs, and **not a security border**.
Code of people who are not trusted is evaluated in a sandboxed child (`build/evaluator.py`).
"""
