"""The sections of the README on the linking of gold mentions."""

from typing import Any, Dict, List

from readme_tables import figure, table

# Figures of linking_corpora, with "kb" or "train" before the name
LINKING = [
    ("Acc@1", "acc1"),
    ("- from", "acc1_low"),
    ("- to", "acc1_high"),
    ("Acc@5", "acc5"),
    ("among 20 candidates", "recall20"),
    ("Acc@1 where it is among them", "disambiguation_acc1"),
    ("Acc@1, names unseen in training", "unseen_names_acc1"),
    ("Acc@1, concepts unseen in training", "unseen_concepts_acc1"),
    ("Acc@5, concepts unseen in training", "unseen_concepts_acc5"),
]
# Those of linking_gutbrainie
GUTBRAINIE = [
    ("Acc@1", "gold_acc1"),
    ("Acc@5", "gold_acc5"),
    ("MRR", "gold_mrr"),
    ("among 20 candidates", "gold_recall20"),
    ("names unseen in training: Acc@1", "gold_unseen_names_acc1"),
    ("Acc@5", "gold_unseen_names_acc5"),
    ("concepts unseen in training: Acc@1", "gold_unseen_concepts_acc1"),
    ("Acc@5", "gold_unseen_concepts_acc5"),
    ("NERD, strict micro-F1", "gut_instincts_nerd_strict_micro_f"),
    ("macro-F1", "gut_instincts_nerd_strict_macro_f"),
]
ORDER = ("exact", "TF-IDF", "MiniLM")  # how the titles of peers begin; the rest comes after them


def linking_gutbrainie(results: List[Dict[str, Any]]) -> List[str]:
    """Linking on GutBrainIE's dev: gold mentions, and the entities of Gut-Instincts."""
    counts = results[0]["metrics"]
    lines = ["", "## Linking on GutBrainIE, dev", ""]
    lines += [
        "All know the official names of the concepts and the mentions of platinum and gold; the "
        "trained pipeline has learned from silver as well. Reranker and name encoder are fitted "
        f"to training documents, seed 0. {counts['mentions']:,} gold mentions, "
        f"{counts['mentions_unseen_names']} of names and {counts['mentions_unseen_concepts']} of "
        "concepts unseen in training; NERD (span, label and concept) is over the entities that "
        "Gut-Instincts found.",
        "",
    ]
    rows = [
        [result["system"], *(figure(result["metrics"].get(key)) for _, key in GUTBRAINIE)]
        for result in sorted(results, key=_place)
    ]
    lines += table(["system", *(name for name, _ in GUTBRAINIE)], rows)
    return lines + _coherence(results) + _cuts(results)


def _coherence(results: List[Dict[str, Any]]) -> List[str]:
    """What coherence changes in the mentions that it can change."""
    metrics = {result["system"]: result["metrics"] for result in results}
    lines = []
    for system, found in metrics.items():
        base, coherence, rest = system.partition(", coherence")
        before = metrics.get(base, {}).get("gold_repeated_acc1")
        if coherence and before is not None:
            lines.append(
                f"\nCoherence{rest} in `{base}`: Acc@1 {figure(before)} without and "
                f"{figure(found['gold_repeated_acc1'])} with it over the "
                f"{found['mentions_repeated']} gold mentions that share text and label with "
                "another of their document."
            )
    return lines


def _cuts(results: List[Dict[str, Any]]) -> List[str]:
    """What was cut, and the time of it; results of one cut share what was fitted."""
    minutes: Dict[str, float] = {}
    for config in (result["config"] for result in results if "cut" in result["config"]):
        spent = config["cpu_seconds"] / 60
        minutes[config["cut"]] = max(minutes.get(config["cut"], 0.0), spent)
    return [f"\nCut: {cut}; {spent:.0f} minutes of one core." for cut, spent in minutes.items()]


def linking_corpora(results: List[Dict[str, Any]]) -> List[str]:
    """Linking of gold mentions, two tables for each corpus: the base's names, and training's."""
    lines = ["", "## Linking of gold mentions, BC5CDR and NCBI Disease, dev", ""]
    lines += [
        "The same knowledge base, names and mentions for all; nothing is trained. Scored are "
        "mentions with exactly one concept id; an id that the knowledge base lacks is wrong. "
        "Equal scores of the peers are ordered by the training mentions of the concept. From and "
        "to: 95 % of the resamples of documents.",
    ]
    for corpus in dict.fromkeys(result["config"]["corpus"] for result in results):
        chosen = [result for result in results if result["config"]["corpus"] == corpus]
        chosen.sort(key=_place)
        counts, names = chosen[0]["metrics"], chosen[0]["config"]["names"]
        lines += [
            "",
            f"`{corpus}`: {counts['mentions']} mentions, {counts['mentions_unseen_names']} of "
            f"names and {counts['mentions_unseen_concepts']} of concepts unseen in training, "
            f"{counts['mentions_wrong_not_in_kb']} of ids that the knowledge base lacks. Left out: "
            f"{counts['mentions_left_out_several_ids']} of several ids, "
            f"{counts['mentions_left_out_no_id']} without one.",
        ]
        for prefix, title in (("kb", "names of the knowledge base"), ("train", "and of training")):
            head = [f"{title} ({names[prefix]:,})", *(label for label, _ in LINKING)]
            rows = [
                [r["system"], *(figure(r["metrics"].get(f"{prefix}_{key}")) for _, key in LINKING)]
                for r in chosen
            ]
            lines += ["", *table(head, rows)]
    return lines


BIONNE = [
    ("Acc@1", "acc1"),
    ("Acc@5", "acc5"),
    ("MRR", "mrr"),
    ("Acc@1, concepts that training has", "seen_concepts_acc1"),
    ("Acc@1, names unseen in training", "unseen_names_acc1"),
]


def linking_bionne(results: List[Dict[str, Any]]) -> List[str]:
    """Linking of gold mentions over the training names, a table for each language."""
    lines = ["", "## Linking of gold mentions, BioNNE-L, dev", ""]
    lines += [
        "Over the names of the training mentions, the same for all; UMLS is licensed. Mentions "
        "without a concept are left out; a concept that training lacks is wrong.",
    ]
    for language in dict.fromkeys(result["config"]["language"] for result in results):
        chosen = [result for result in results if result["config"]["language"] == language]
        chosen.sort(key=_place)
        counts, names = chosen[0]["metrics"], chosen[0]["config"]["names"]
        rows = []
        for result in chosen:
            variants = [("", "")]
            if "context_alone_acc1" in result["metrics"]:
                variants.append(("context_alone_", ", context alone"))
            rows += [
                [
                    f"{result['system']}{title}",
                    *(figure(result["metrics"].get(f"{prefix}{key}")) for _, key in BIONNE),
                ]
                for prefix, title in variants
            ]
        lines += [
            "",
            f"`{language}`: {counts['mentions']} mentions, {counts['mentions_unseen_names']} of "
            f"names unseen in training, {counts['mentions_wrong_not_in_kb']} of concepts that it "
            f"lacks; {names:,} names.",
            "",
            *table(["", *(label for label, _ in BIONNE)], rows),
        ]
        lines += [
            f"\nCut in `{r['system']}`: {r['config']['cut']}. {r['config']['documents']} documents "
            f"({r['config']['mentions']} mentions), epochs {r['config']['epochs']}, characters of "
            f"context {r['config']['context_characters']}; {r['config']['cpu_seconds'] / 60:.0f} "
            "minutes of one core; one seed."
            for r in chosen
            if "cut" in r["config"]
        ]
    return lines


def _place(result: Dict[str, Any]) -> int:
    starts = [result["system"].startswith(start) for start in ORDER]
    return starts.index(True) if any(starts) else len(starts)
