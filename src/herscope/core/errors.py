"""Every deliberate error of herscope, in one tree.

* HerscopeError                 every deliberate error; ``hint`` says what to do next
    * InputError                (also ValueError) what was asked cannot be done
        * UnknownResolution     a slide states no usable micrometres per pixel
        * UpsamplingRefused     finer pixels were asked for than the slide has
        * SchemaError           a file or table does not have the form it must have
        * EmptyTissue           nothing on the slide to measure
        * LeakyFolds            a patient would be trained on and tested on
    * SlideError                (also OSError) a slide cannot be read
        * UnreadableSlide       no reader could open it; ``causes`` has one cause per reader
        * OutOfBounds           a region outside the slide
    * OutputError               (also OSError) results cannot be written
    * NotComputed               (also LookupError) a stage that is needed has not run
    * StaleResult               what is stored was made with other parameters
    * ModelError                a model cannot be used
        * UnknownModel          (also KeyError) no such name; the nearest one is named
        * WrongInput            the model's card forbids this input
        * WeightsUnavailable    its weights are not on this machine
    * DependencyMissing         (also ImportError) an optional package is absent
    * UndefinedStatistic        (also ValueError) the data do not determine the number

A message says what, where, the value and the limit; ``hint`` says what to do next.
"""

from __future__ import annotations

from collections.abc import Mapping


class HerscopeError(Exception):
    """Base of every deliberate error.

    Parameters
    ----------
    message
        What went wrong, where, with the value and the limit.
    hint
        What the reader can do next; printed on a line of its own.

    Examples
    --------
    >>> str(HerscopeError("slide a.svs has no resolution", hint="pass mpp=0.25"))
    'slide a.svs has no resolution'
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class InputError(HerscopeError, ValueError):
    """A parameter, a table or a file asks for something that cannot be done."""


class UnknownResolution(InputError):
    """The slide states no usable micrometres per pixel and nobody stated one for it."""


class UpsamplingRefused(InputError):
    """Finer pixels were asked for than the slide has."""


class SchemaError(InputError):
    """A file or a table does not have the form it must have."""


class EmptyTissue(InputError):
    """There is nothing on the slide to measure."""


class LeakyFolds(InputError):
    """A patient would be both trained on and tested on."""


class SlideError(HerscopeError, OSError):
    """A slide cannot be read."""


class UnreadableSlide(SlideError):
    """No reader could open the file.

    Parameters
    ----------
    message, hint
        As for :class:`HerscopeError`.
    causes
        Reader name to the reason it gave.
    """

    def __init__(
        self, message: str, *, hint: str = "", causes: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.causes = dict(causes or {})


class OutOfBounds(SlideError):
    """A region lies outside the slide."""


class OutputError(HerscopeError, OSError):
    """Results cannot be written: no permission, no space, a file in the way."""


class NotComputed(HerscopeError, LookupError):
    """A stage that is needed has not run; the hint names the command that runs it."""


class StaleResult(HerscopeError):
    """What is stored was made with other parameters; the message lists which."""


class ModelError(HerscopeError):
    """A model cannot be used."""


class UnknownModel(ModelError, KeyError):
    """No model, profile or reader has this name."""


class WrongInput(ModelError):
    """The model's card forbids this input."""


class WeightsUnavailable(ModelError):
    """The weights are not on this machine."""


class DependencyMissing(HerscopeError, ImportError):
    """An optional package is absent; the hint names the extra that brings it."""


class UndefinedStatistic(HerscopeError, ValueError):
    """The data do not determine the number that was asked for."""
