import pytest
import shrunk

from mgm_jax.errors import ConfigError
from mgm_jax.training import tasks


@pytest.mark.parametrize(
    ("recipe", "classes", "message"),
    [
        ("demo_finetune", (), r"config\.data\.path.* 2 classes.* 0;"),
        ("small_linear_probe", ("a", "b"), r"config\.init_from.*=WORKDIR"),
    ],
)
def test_what_cannot_be_trained_is_refused(recipe, classes, message):
    with pytest.raises(ConfigError, match=message):
        tasks.make_task(shrunk.recipe(recipe, "unused"), classes)
