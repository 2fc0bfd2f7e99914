"""A source of one video."""

from mgm_jax.data.identity import VideoFacts
from mgm_jax.data.records import UNLABELLED, VideoRecord


class OneVideo:
    """Its only record is given, or an exception that reading it raises."""

    class_names = ("one",)

    def __init__(self, outcome: VideoRecord | BaseException, name: str = "a.mp4") -> None:
        self.outcome, self.name = outcome, name

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> VideoRecord:
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome

    def describe(self, index: int) -> str:
        return self.name

    def facts(self) -> list[VideoFacts]:
        return [VideoFacts(self.name, UNLABELLED, self.name)]
