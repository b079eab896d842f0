"""The steps of a training of an encoder outside of a pipeline: rates, checkpoints, restart."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Union

from ..formats.atomic import replacing
from ..kb.pooling_file import write_pooling
from .saved_pipeline import folder_to_replace


@dataclass(frozen=True)
class StepSettings:
    """How an encoder learns.

    learn_rate: the highest, which is reached after the part ``warmup`` of all steps; it falls to
    zero at the last. weight_decay: of matrices. grad_clip: the largest L2 norm of all gradients.
    mixed_precision: bfloat16, where the hardware has instructions for it. seed: of all that is
    drawn. checkpoint_every: steps between two checkpoints, 0 for none. resume: go on from the
    checkpoint that is there. progress: show a bar.
    """

    learn_rate: float
    weight_decay: float = 0.01
    warmup: float = 0.1
    grad_clip: float = 1.0
    mixed_precision: bool = True
    seed: int = 0
    checkpoint_every: int = 500
    resume: bool = False
    progress: bool = False

    def check(self) -> None:
        """Raise ValueError for a setting that is out of its range."""
        if self.learn_rate <= 0 or self.weight_decay < 0 or self.grad_clip <= 0:
            raise ValueError(
                f"learn_rate is {self.learn_rate}, weight_decay {self.weight_decay}, grad_clip "
                f"{self.grad_clip}: expected them above 0, weight_decay at least 0."
            )
        if not 0.0 <= self.warmup < 1.0 or self.checkpoint_every < 0:
            raise ValueError(
                f"warmup is {self.warmup} and checkpoint_every {self.checkpoint_every}: expected a "
                "part of all steps from 0 to below 1, and a number of steps from 0 on."
            )

    def rate(self, step: int, n_steps: int) -> float:
        """The learning rate of a step, from 0 on."""
        warmup = int(self.warmup * n_steps)
        if step < warmup:
            return self.learn_rate * (step + 1) / warmup
        return self.learn_rate * (n_steps - step) / (n_steps - warmup)


# The parts of the loss of a step, one after the other: each is sent back before the next is made.
LossOfStep = Callable[[int], Iterable[Any]]


def run_steps(
    model: Any,
    loss_of_step: LossOfStep,
    n_steps: int,
    settings: StepSettings,
    *,
    checkpoint: Path,
    identity: Mapping[str, Union[int, float, str, bool]],
    desc: str = "Training",
) -> List[float]:
    """Train a torch module with AdamW.

    model: those of its parameters learn that require a gradient.
    loss_of_step: for the number of a step the parts of its loss, which it has to make the same in
        each run.
    checkpoint: file of what a stopped training needs to go on; it is gone at the end.
    identity: what has to be the same where a training goes on.

    RETURNS: the loss of each step, those before a restart included.
    Raises ValueError for a loss that is no number, and where ``settings.resume`` is set and the
    checkpoint is of another training or damaged. Without a checkpoint training begins.
    """
    import torch
    from tqdm import trange

    torch.manual_seed(settings.seed)
    learning = {name: p for name, p in model.named_parameters() if p.requires_grad}
    matrices = [p for p in learning.values() if p.dim() > 1]
    others = [p for p in learning.values() if p.dim() <= 1]
    groups: Any = [{"params": matrices}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(
        groups, lr=settings.learn_rate, weight_decay=settings.weight_decay
    )
    known = {**identity, "steps": n_steps, "parameters": sum(p.numel() for p in learning.values())}
    losses: List[float] = []
    if settings.resume and checkpoint.is_file():
        losses = _read_checkpoint(checkpoint, known, learning, optimizer)
    model.train()
    with trange(
        n_steps, initial=len(losses), desc=desc, unit="step", disable=not settings.progress
    ) as bar:
        for step in range(len(losses), n_steps):
            for group in optimizer.param_groups:
                group["lr"] = settings.rate(step, n_steps)
            total = 0.0
            for part in loss_of_step(step):
                part.backward()
                total += float(part.detach())
            if total != total or total == float("inf"):
                raise ValueError(
                    f"The loss of step {step + 1} is {total}: expected a number; a lower "
                    "learn_rate or training without mixed_precision may help."
                )
            torch.nn.utils.clip_grad_norm_(learning.values(), settings.grad_clip)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            losses.append(total)
            bar.update()
            bar.set_postfix(loss=f"{total:.4f}", refresh=False)
            due = settings.checkpoint_every and (step + 1) % settings.checkpoint_every == 0
            if due and step + 1 < n_steps:
                _write_checkpoint(checkpoint, known, learning, optimizer, losses)
    checkpoint.unlink(missing_ok=True)
    return losses


def summary(losses: List[float], parts: int = 20) -> List[float]:
    """The mean losses of equal parts of a training, in order."""
    size = max(1, -(-len(losses) // parts))
    chunks = [losses[i : i + size] for i in range(0, len(losses), size)]
    return [round(sum(chunk) / len(chunk), 4) for chunk in chunks]


def checkpoint_of(output: Union[str, Path]) -> Path:
    """The file beside an output folder in which a stopped training is kept."""
    output = Path(output)
    return output.with_name(f"{output.name}.checkpoint")


def check_output(output: Union[str, Path]) -> Path:
    """Raise ValueError where a path is something else than a new or empty folder or an encoder."""
    output = Path(output)
    if output.exists() and not output.is_dir():
        raise ValueError(f"Output '{output}' is a file: expected a folder for the encoder.")
    if output.is_dir() and any(output.iterdir()) and not (output / "config.json").is_file():
        raise ValueError(
            f"Output '{output}' holds files, but no encoder that could be replaced: expected an "
            "empty or absent folder."
        )
    return output


def save_encoder(output: Path, model: Any, tokenizer: Any, pooling: Optional[str] = None) -> None:
    """Write a model and its tokenizer; an encoder that is there is replaced when all is written.

    pooling: of what it was trained for, see ``write_pooling``.
    """
    if tokenizer.is_fast:  # what it was last asked for would be saved
        tokenizer.backend_tokenizer.no_truncation()
        tokenizer.backend_tokenizer.no_padding()
    with folder_to_replace(output) as folder:
        model.save_pretrained(str(folder), safe_serialization=True)
        tokenizer.save_pretrained(str(folder))
        if pooling is not None:
            write_pooling(folder, pooling, model.config.hidden_size)


def _write_checkpoint(
    path: Path, identity: Dict[str, Any], learning: Dict[str, Any], optimizer: Any, losses: list
) -> None:
    import torch

    state = {
        "identity": identity,
        "losses": losses,
        "parameters": {name: p.detach().cpu() for name, p in learning.items()},
        "optimizer": optimizer.state_dict(),
        "random": torch.get_rng_state(),
        "random_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }
    with replacing(path) as beside:
        torch.save(state, beside)


def _read_checkpoint(
    path: Path, identity: Dict[str, Any], learning: Dict[str, Any], optimizer: Any
) -> List[float]:
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        before, losses = dict(state["identity"]), list(state["losses"])
    except Exception as error:
        raise ValueError(f"Checkpoint '{path}' is damaged or foreign: {error}") from error
    for key in {**before, **identity}:
        if before.get(key) != identity.get(key):
            raise ValueError(
                f"Checkpoint '{path}' is of another training: its {key} is {before.get(key)!r}, "
                f"this one has {identity.get(key)!r}. Expected the same settings and data."
            )
    with torch.no_grad():
        for name, p in learning.items():
            p.copy_(state["parameters"][name])
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["random"])
    if state["random_cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["random_cuda"])
    return losses
