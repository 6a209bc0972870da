"""How the embedded model was made: `python -m saekit.making.pretrain`."""
