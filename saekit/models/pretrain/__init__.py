"""How the embedded model was made: `python -m saekit.models.pretrain`."""
