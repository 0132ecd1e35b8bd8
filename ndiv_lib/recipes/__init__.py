"""One file per experiment: a frozen configuration with its reasons, ``run``, and a smoke size."""
