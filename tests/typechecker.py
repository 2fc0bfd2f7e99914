"""The checker that holds annotations to the values at run time; ints may stand for floats."""

from beartype import BeartypeConf, beartype

typecheck = beartype(conf=BeartypeConf(is_pep484_tower=True))
