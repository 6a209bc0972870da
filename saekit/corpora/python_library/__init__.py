"""The frozen standard library of Python 3.11, labelled with `tokenize` and `ast`."""
