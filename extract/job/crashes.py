"""Records samples that crashed the accelerator. Such a failure ends the process, and a restart must not repeat it.

`crashes/00003.json` in a store lists them until part 3 is published. If the accelerator failed on a batch, the next run
tries its samples one by one. If it failed on a single sample, that sample is left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from extract.backbone.narrowing import AcceleratorLost
from extract.imaging.images import LeftOut
from extract.sample import Sample
from relope_jax.errors import ReLopeError
from relope_jax.io import limits
from relope_jax.io.files import parse_json, to_json
from relope_jax.io.place import Place
from relope_jax.io.typed import record_of
from relope_jax.states.layout import part_title


@dataclasses.dataclass
class Suspects:
    """The suspect samples of one part, by id.

    Attributes:
      alone: to be run one by one.
      out: to be left out, with the reason.
    """

    alone: list[str] = dataclasses.field(default_factory=list)
    out: dict[str, str] = dataclasses.field(default_factory=dict)

    @staticmethod
    def load(place: Place, index: int) -> Suspects:
        """The suspects of part `index`; none when the record is missing or damaged."""
        try:
            return record_of(Suspects, parse_json(place.read(_name(index), limits.JSON), _name(index)), "a note")
        except (FileNotFoundError, ValueError):
            return Suspects()

    def note(self, place: Place, index: int, lost: AcceleratorLost) -> ReLopeError:
        """Record the samples on which the accelerator failed; returns the error that ends the process."""
        ids = [sample.sample_id for sample in lost.items if isinstance(sample, Sample)]
        if len(ids) == 1:
            self.out |= {ids[0]: f"the accelerator fails on it: {lost.reason}"}
            next_time = f"leaves out the sample {ids[0]} that it failed on"
        else:
            self.alone += ids
            next_time = f"tries the {len(ids)} samples of that batch one by one"
        place.write(_name(index), to_json(dataclasses.asdict(self)).encode())
        return ReLopeError(f"{lost}: run the same command again; it keeps what is published and {next_time}")

    def clear(self, place: Place, index: int) -> None:
        """Delete the record, because the part is published."""
        if self.alone or self.out:
            place.delete(_name(index))

    def is_suspect(self, sample: Sample) -> bool:
        return sample.sample_id in self.alone

    def refuse(self, sample: Sample) -> None:
        """Raise LeftOut for a sample on which the accelerator failed when it ran alone."""
        if sample.sample_id in self.out:
            raise LeftOut(self.out[sample.sample_id])

    def cut(self, batch: Sequence[Sample]) -> list[Sample]:
        """The batch up to its first suspect; a suspect in first position stays alone."""
        first = next((i for i, sample in enumerate(batch) if self.is_suspect(sample)), len(batch))
        return list(batch[: max(1, first)])


def _name(index: int) -> str:
    return f"crashes/{part_title(index)}.json"
