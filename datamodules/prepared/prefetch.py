"""Batches of the host on their way to a GPU, while it computes."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor

from zoo.data.batch_checks import check_labels


class Copies:
    """Copies of batches to a GPU on a stream of their own, for which the processor does not wait.

    Copies from pinned memory return at once, and their allocator uses that memory again when they
    are done. The memory of a batch on the GPU is that of batches before, whose last use is queued
    by then: the stream of copies waits for it.

    Args:
        device: The GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)

    def begin(self, batch: Any) -> Any:
        """A batch whose copy is queued, beside what is computed next."""
        self.stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self.stream):
            return apply_to_collection(batch, Tensor, self._begin)

    def _begin(self, part: Tensor) -> Tensor:
        return part.pin_memory().to(self.device, non_blocking=True)

    def finish(self) -> None:
        """Lets what is computed from now on wait, on the device, for all copies so far."""
        torch.cuda.current_stream(self.device).wait_stream(self.stream)


class Prefetched:
    """A dataloader whose batches come on a GPU: while one is used, the next is on its way.

    Order and number of the batches, their state in checkpoints and errors are those of the loader.

    Args:
        loader: An iterable of batches on the CPU.
        split: Which rows these are; all but those of `predict` must have labels.
        copies: Brings batches to the device.
    """

    def __init__(self, loader: Any, split: str, copies: Copies) -> None:
        self.loader = loader
        self.split = split
        self.copies = copies

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        begun = map(self._begin, self.loader)
        ahead = next(begun, None)
        while ahead is not None:
            batch, error = ahead, None
            self.copies.finish()
            try:
                ahead = next(begun, None)
            except Exception as raised:  # of the next batch: this one is in order
                error = raised
            yield batch
            if error is not None:
                raise error

    def _begin(self, batch: Any) -> Any:
        check_labels(batch, self.split)  # on the CPU, where looking is cheap
        return self.copies.begin(batch)

    def state_dict(self) -> dict[str, Any]:
        """That of the loader, which knows what has been trained on, not what is on its way."""
        return self.loader.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Gives the loader its state."""
        self.loader.load_state_dict(state_dict)


def prefetched(loader: Iterable[Any], split: str, device: torch.device) -> Any:
    """The loader, with batches on a GPU where these would have to be brought there one by one."""
    resident = getattr(loader, "device", None) is not None  # see `BatchLoader`
    if device.type != "cuda" or resident:
        return loader
    return Prefetched(loader, split, Copies(device))
