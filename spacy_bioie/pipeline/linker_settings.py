"""The ranges of the settings of a ``faiss_entity_linker``."""

from typing import Any, Mapping

SEARCHES = ("name", "projection", "context")
LEAST = {
    "top_k": 1,
    "n_search": 0,
    "context_weight": 0,
    "prior_weight": 0,
    "label_weight": 0,
    "coherence_margin": 0,
    "n_negatives": 0,
    "loss_weight": 0,
}


def check_settings(component: str, settings: Mapping[str, Any]) -> None:
    """Raise ValueError, which names the component, for a setting that is out of its range."""
    where = f"Component '{component}': "
    for name, least in LEAST.items():
        if settings[name] < least:
            raise ValueError(f"{where}{name} is {settings[name]}, expected {least} or more.")
    if not 0.0 <= settings["threshold"] <= 1.0:
        raise ValueError(
            f"{where}threshold is {settings['threshold']}, expected a score in [0, 1]."
        )
    if settings["search_by"] not in SEARCHES:
        raise ValueError(
            f"{where}search_by is '{settings['search_by']}', expected one of {list(SEARCHES)}."
        )
    if settings["no_link"] and settings["search_by"] == "context":
        raise ValueError(
            f"{where}no_link is the choice of a reranker, and there is none where search_by is "
            "'context': expected no_link = false."
        )
    if settings["temperature"] <= 0.0:
        raise ValueError(f"{where}temperature is {settings['temperature']}, expected more than 0.")
