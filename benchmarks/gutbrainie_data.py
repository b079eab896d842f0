"""Where GutBrainIE's files lie in the folder of data, and dev with the entities of a peer."""

import json
from pathlib import Path
from typing import Any, Dict

TRAIN = "gutbrainie/Annotations/Train/{0}_quality/json_format/train_{0}.json"
DEV = "gutbrainie/Annotations/Dev/json_format/dev.json"
ENTITIES = "peers/gut-instincts_ner_dev.json"


def dev_with_found_entities(data: Path) -> Dict[str, Any]:
    """The dev articles with the entities that Gut-Instincts found, and without relations."""
    dev = json.loads((data / DEV).read_text(encoding="utf8"))
    entities = json.loads((data / ENTITIES).read_text(encoding="utf8"))
    return {
        pmid: {
            "metadata": article["metadata"],
            "entities": entities[pmid]["entities"],
            "relations": [],
        }
        for pmid, article in dev.items()
    }
