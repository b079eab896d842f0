"""Weight averaging: one pipeline with the mean parameters of several.

As in "Model soups" (Wortsman et al. 2022), for checkpoints of one run, or runs from one pretrained
encoder. Unlike an ensemble it costs no more than one pipeline.
"""

from pathlib import Path
from typing import Any, Dict, Iterator, NamedTuple, Optional, Sequence, Tuple, Union

import numpy
import torch
from spacy.language import Language
from spacy.util import load_model
from thinc.api import Model

from ..models.span_ensemble import normalised_weights

AnyPath = Union[str, Path]


class Parameter(NamedTuple):
    """A parameter: its component, its name with the layer's, and where it is kept.

    ``holder`` is a thinc layer, or a torch module's tensor.
    """

    component: str
    name: str
    holder: Any


def average_saved_pipelines(
    pipelines: Sequence[AnyPath], weights: Optional[Sequence[float]] = None
) -> Language:
    """The first pipeline with the mean parameters of all, which are read one after the other.

    pipelines: names or folders. weights: of them, above 0; even by default.

    All parameters of all components are averaged, torch's and the encoder's too. All else is the
    first one's: temperatures and thresholds, which should be tuned anew, and knowledge bases.

    Raises OSError for a pipeline that cannot be read, and ValueError, which names component and
    parameter, for one of another structure.
    """
    shares = normalised_weights(weights, len(pipelines))
    first = load_model(pipelines[0])
    own = list(pipeline_parameters(first))
    totals = [_value(parameter) * shares[0] for parameter in own]
    for path, share in zip(pipelines[1:], shares[1:], strict=True):
        other = load_model(path)
        check_components(first, other, str(pipelines[0]), str(path))
        parameters = list(pipeline_parameters(other))
        check_parameters(own, parameters, str(pipelines[0]), str(path))
        for total, parameter in zip(totals, parameters, strict=True):
            total += _value(parameter) * share
    for parameter, total in zip(own, totals, strict=True):
        _set_value(parameter, total)
    return first


def pipeline_parameters(nlp: Language) -> Iterator[Parameter]:
    """All parameters of all components that are real numbers, in a fixed order."""
    for component in nlp.component_names:
        model = getattr(nlp.get_pipe(component), "model", None)
        if not isinstance(model, Model):
            continue
        for i, node in enumerate(model.walk()):
            layer = f"layer {i} ({node.name})"
            for name in node.param_names:
                if node.has_param(name):
                    yield Parameter(component, f"{layer}, {name}", (node, name))
            for shim in node.shims:
                module = getattr(shim, "_model", None)
                state = module.state_dict() if isinstance(module, torch.nn.Module) else {}
                for name, tensor in state.items():
                    if tensor.is_floating_point():
                        yield Parameter(component, f"{layer}, {name}", tensor)


def check_components(first: Language, other: Language, name: str, other_name: str) -> None:
    """Raise ValueError where two pipelines have other components, or one of them other labels."""
    found, expected = ([_factory(nlp, c) for c in nlp.component_names] for nlp in (other, first))
    if found != expected:
        raise ValueError(
            f"Pipeline '{other_name}' has the components {found}, expected those of '{name}': "
            f"{expected}."
        )
    for component in first.component_names:
        labels, of_first = (
            list(getattr(nlp.get_pipe(component), "labels", ())) for nlp in (other, first)
        )
        if labels != of_first:
            raise ValueError(
                f"Pipeline '{other_name}': component '{component}' has the labels {labels}, "
                f"expected those of '{name}' in their order: {of_first}."
            )


def check_parameters(
    first: Sequence[Parameter], other: Sequence[Parameter], name: str, other_name: str
) -> None:
    """Raise ValueError for the first parameter that is missing, or of another shape."""
    shapes: Tuple[Dict, Dict] = ({}, {})
    for parameters, seen in zip((first, other), shapes, strict=True):
        seen.update({(p.component, p.name): _value(p).shape for p in parameters})
    for key in {**shapes[0], **shapes[1]}:
        of_first, of_other = (
            f"the shape {seen[key]}" if key in seen else "nothing of that name" for seen in shapes
        )
        if of_first != of_other:
            raise ValueError(
                f"Component '{key[0]}': the parameter {key[1]} has {of_other} in '{other_name}' "
                f"and {of_first} in '{name}'. Expected pipelines of one architecture."
            )


def _factory(nlp: Language, component: str) -> str:
    factory = nlp.get_pipe_meta(component).factory
    return component if component == factory else f"{component} ({factory})"


def _value(parameter: Parameter) -> numpy.ndarray:
    """A copy in double precision, so that the mean of equal values is that value."""
    if isinstance(parameter.holder, torch.Tensor):
        return parameter.holder.detach().cpu().double().numpy().copy()
    node, name = parameter.holder
    return node.ops.to_numpy(node.get_param(name)).astype("float64")


def _set_value(parameter: Parameter, value: numpy.ndarray) -> None:
    if isinstance(parameter.holder, torch.Tensor):
        with torch.no_grad():
            parameter.holder.copy_(torch.from_numpy(value))
        return
    node, name = parameter.holder
    node.set_param(name, node.ops.asarray(value.astype(node.get_param(name).dtype)))
