"""Where and how exactly torch computes: device, threads, seed. For training and export only.

Networks, losses and the training loop never name a device; they are given one from here. Nothing
happens at import.

On one machine with one number of threads a CPU run gives the same bits again. Other processors,
other thread counts and other builds of torch add in another order: expect differences near 1e-6 of
the largest value in one forward pass, and more after many training steps. On a GPU some gradients
(bilinear upsampling among them) have no fixed order; there equal seeds give similar runs, not equal
ones.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final

import torch

from herscope.core.errors import InputError
from herscope.core.provenance import cpu_count
from herscope.core.registry import nearest

DEVICES: Final = ("auto", "cpu", "cuda", "mps")
"""``auto`` takes CUDA, then Apple's MPS, then the CPU."""

LARGEST_SEED: Final = 2**63 - 1


def choose_device(name: str = "auto") -> torch.device:
    """Return the device of this name, if this machine has it.

    Parameters
    ----------
    name
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Returns
    -------
    torch.device
        ``auto`` never fails; every other name gives that device or an error, never another one.

    Raises
    ------
    InputError
        An unknown name, or a device this machine does not have.

    Examples
    --------
    >>> choose_device("cpu")
    device(type='cpu')
    """
    kind, _, number = name.partition(":")
    if kind not in DEVICES or (number and (kind != "cuda" or not number.isdecimal())):
        raise InputError(f"no device is called {name}", hint=nearest(name, [*DEVICES, "cuda:0"]))
    has = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.mps.is_available()}
    if kind == "auto":
        return torch.device(next(known for known in ("cuda", "mps", "cpu") if has[known]))
    if not has[kind]:
        raise InputError(
            f"device {name} was asked for, but torch {torch.__version__} finds none here",
            hint="take the device auto or cpu, or install a torch built for this GPU",
        )
    if number and int(number) >= torch.cuda.device_count():
        raise InputError(
            f"device {name} was asked for, this machine has {torch.cuda.device_count()} "
            "(numbered from 0)",
            hint="take a lower number, or cuda",
        )
    return torch.device(name)


def seed_everything(seed: int) -> None:
    """Seed torch on all devices and ask it for algorithms with a fixed order.

    NumPy's global generator is left alone: herscope draws from generators of its own. A GPU
    algorithm without a fixed order is used all the same; cuDNN does not search for faster ones,
    since what it finds differs from run to run.

    Parameters
    ----------
    seed
        0 to 2**63 - 1.

    Raises
    ------
    InputError
        Another seed.

    Examples
    --------
    >>> seed_everything(7); first = torch.rand(3)
    >>> seed_everything(7); bool((first == torch.rand(3)).all())
    True
    """
    if not 0 <= seed <= LARGEST_SEED:
        raise InputError(
            f"seed {seed} is out of range (allowed: 0 to {LARGEST_SEED})", hint="take a small one"
        )
    torch.manual_seed(seed)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True


@contextlib.contextmanager
def limit_threads(threads: int | None = None) -> Iterator[int]:
    """Let torch use this many threads inside the block and as many as before after it.

    Parameters
    ----------
    threads
        At least 1; ``None`` for the cores this process may use (torch alone counts all cores of
        the machine, also those a container or scheduler has not given).

    Yields
    ------
    int
        The number in use.

    Raises
    ------
    InputError
        Fewer than one.

    Examples
    --------
    >>> with limit_threads(1) as used:
    ...     used, torch.get_num_threads()
    (1, 1)
    """
    wanted = cpu_count() if threads is None else threads
    if wanted < 1:
        raise InputError(f"{threads} threads cannot compute (at least 1)", hint="leave it out")
    before = torch.get_num_threads()
    torch.set_num_threads(wanted)
    try:
        yield wanted
    finally:
        torch.set_num_threads(before)
