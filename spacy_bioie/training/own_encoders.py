"""Components that leave their pipeline, and take the shared encoder with them."""

from typing import Any, List, Tuple

from spacy.language import Language
from spacy.ty import ListenedToComponent
from spacy.util import replace_model_node

from ..models.listener import listener_sections


def give_own_encoder(nlp: Language, component: str) -> None:
    """Put copies of the shared encoder in the place of a component's listeners.

    As ``nlp.replace_listeners``, but wherever they are in the model; without listeners nothing
    changes. Raises ValueError for listeners to several encoders.
    """
    encoders: List[Tuple[str, Any]] = [
        (name, pipe)
        for name, pipe in nlp.pipeline
        if isinstance(pipe, ListenedToComponent) and pipe.listener_map.get(component)
    ]
    if not encoders:
        return
    if len(encoders) > 1:
        raise ValueError(
            f"Component '{component}' listens to several encoders: "
            f"{[name for name, _ in encoders]}. Expected one."
        )
    name, encoder = encoders[0]
    attrs = encoder.model.attrs
    config = nlp.get_pipe_config(name)["model"]
    for section, key in list(listener_sections(nlp.get_pipe_config(component)["model"])):
        make = attrs.get("replace_listener_cfg")
        section[key] = make(config, section[key]) if make else config
    pipe: Any = nlp.get_pipe(component)
    for listener in list(encoder.listener_map[component]):
        own = encoder.model.copy()
        if "replace_listener" in attrs:
            own = attrs["replace_listener"](own)
        replace_model_node(pipe.model, listener, own)
        encoder.remove_listener(listener, component)
