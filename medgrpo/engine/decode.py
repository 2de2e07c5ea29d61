"""Sampling completions with Transformers: each prompt read once, then one token at a time for all completions.

`generate` reads a prompt as often as it has completions, and asks the device after every token whether all are done.
Here the keys and values of a prompt are computed once and copied to its completions, the room for the rest is set
aside, and on CUDA the step of one token is recorded once and played back.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medgrpo.engine.features import with_pictures
from medgrpo.engine.inner import base_of, inner_of, text_config_of
from medgrpo.engine.masks import by_layer, dense_mask, picture_blocks
from medgrpo.engine.shown import Shown

if TYPE_CHECKING:
    import torch

ASK_EVERY = 16
"""Tokens between two looks at whether all completions have ended, on CUDA."""
BEFORE_RECORDING = 3
"""Tokens sampled one by one first: they bring libraries and memory into the state that the recording needs."""


@dataclass(frozen=True)
class Draw:
    """How the next token is drawn."""

    temperature: float
    ends: tuple[int, ...]
    """Ids that end a completion."""
    padding: int
    longest: int
    shortest: int = 0
    """Tokens before which a completion may not end."""
    never: tuple[int, ...] = ()
    """Ids that stand for pictures: in a completion they would ask for one that is not there."""
    warpers: tuple[Callable[[Any, Any], Any], ...] = ()
    """Transformers' processors after the temperature, such as top-p; called with no ids."""


class GroupCache:
    """Keys and values of all layers: read by prompt, then written by completion. What Transformers asks of a cache."""

    is_compileable = False

    def __init__(self) -> None:
        self.keys: list[torch.Tensor] = []
        self.values: list[torch.Tensor] = []
        self.place: torch.Tensor | None = None
        self.seen: int | None = None
        """How many places are handed out; None: all of them, masked."""

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add a layer's keys and values, (rows, heads, tokens, size); gives all so far."""
        if self.place is None:
            self.keys.append(keys)
            self.values.append(values)
            return keys, values
        self.keys[layer].index_copy_(2, self.place, keys)
        self.values[layer].index_copy_(2, self.place, values)
        if self.seen is None:
            return self.keys[layer], self.values[layer]
        return self.keys[layer][:, :, : self.seen], self.values[layer][:, :, : self.seen]

    def spread(self, of_row: torch.Tensor, room: int) -> None:
        """A copy of its prompt's for each row, with room for so many tokens more."""
        import torch

        for held in (self.keys, self.values):
            for layer, tensor in enumerate(held):
                held[layer] = torch.nn.functional.pad(tensor[of_row], (0, 0, 0, room))
        self.place = torch.tensor([self.keys[0].shape[2] - room], device=self.keys[0].device)

    def get_seq_length(self, *_: Any) -> int:
        """Asked for positions where none are given."""
        return 0


def sample(
    model: Any,
    shown: Sequence[Shown],
    of_row: Sequence[int],
    draw: Draw,
    *,
    autocast: Callable[[], AbstractContextManager[Any]],
    prefilled: Callable[[], None] = lambda: None,
) -> list[list[int]]:
    """Completions, their ending token included.

    Args:
        model: whole on one device; adapters as they are set.
        shown: prompts.
        of_row: number of the prompt that each completion answers.
        autocast: gives a context for the model's arithmetic that caches no casts.
        prefilled: called when the prompts are read.
    """
    import torch

    device = next(model.parameters()).device
    with torch.no_grad(), autocast():
        state = _State(model, shown, of_row, draw, device)
        prefilled()
        state.run()
    return state.completions()


class _State:
    """One batch under way. Everything that changes from token to token is a tensor that stays where it is."""

    def __init__(
        self, model: Any, shown: Sequence[Shown], of_row: Sequence[int], draw: Draw, device: Any
    ) -> None:
        import torch

        self._model, self._inner, self._draw = model, inner_of(model), draw
        self._head = base_of(model).get_output_embeddings()
        self._text = text_config_of(model)
        self._cache_name = (
            "cache" if "cache" in inspect.signature(self._decoder.forward).parameters else "past_key_values"
        )
        self._cache = GroupCache()
        rows = torch.tensor(list(of_row), device=device)
        logits = self._read(shown, device)[rows]
        self._width = max(len(one["prompt_ids"]) for one in shown)
        self._cache.spread(rows, draw.longest)
        lengths = torch.tensor([len(one["prompt_ids"]) for one in shown], device=device)[rows]
        total = self._width + draw.longest
        columns = torch.arange(total, device=device)
        self._is_key = (columns >= (self._width - lengths)[:, None]) & (columns < self._width)
        following = torch.tensor([int(one["positions"].max()) + 1 for one in shown], device=device)[rows]
        self._position = following[:, None]
        self._axes = shown[0]["positions"].shape[0]
        self._step = torch.zeros(1, dtype=torch.long, device=device)
        self._ends = torch.tensor(draw.ends, device=device)
        self._never = torch.tensor(draw.never, dtype=torch.long, device=device)
        self._is_over = torch.zeros(len(rows), dtype=torch.bool, device=device)
        self._drawn = torch.full((len(rows), draw.longest), draw.padding, device=device)
        self._token = torch.zeros(len(rows), 1, dtype=torch.long, device=device)
        self._done = 0
        self._next(logits)

    @property
    def _decoder(self) -> Any:
        return self._inner.get_decoder()

    def _read(self, shown: Sequence[Shown], device: Any) -> torch.Tensor:
        """Logits after each prompt; the cache holds the prompts' keys and values afterwards."""
        import torch

        width = max(len(one["prompt_ids"]) for one in shown)

        def left(values: torch.Tensor, filling: int = 0) -> torch.Tensor:
            return torch.nn.functional.pad(values, (width - values.shape[-1], 0), value=filling)

        ids = torch.stack([left(one["prompt_ids"], self._draw.padding) for one in shown]).to(device)
        positions = torch.stack([left(one["positions"]) for one in shown], dim=1).to(device)
        segments = torch.stack([left(torch.zeros_like(one["prompt_ids"]), -1) for one in shown]).to(device)
        order = torch.arange(width, device=device).expand(len(shown), width)
        blocks = None
        if any("token_type_ids" in one["token_fields"] for one in shown):
            blocks = torch.stack(
                [left(picture_blocks(one["token_fields"]["token_type_ids"]), -1) for one in shown]
            ).to(device)
        mask = by_layer(self._text, lambda window: dense_mask(segments, order, blocks=blocks, window=window))
        with with_pictures(self._inner, shown, device) as pictures:
            output = self._inner(
                input_ids=ids,
                position_ids=positions[0] if len(positions) == 1 else positions,
                attention_mask=mask,
                use_cache=True,
                **{self._cache_name: self._cache},
                **pictures,
            )
        return self._logits(output.last_hidden_state[:, -1])

    def _logits(self, hidden: torch.Tensor) -> torch.Tensor:
        import torch

        logits: torch.Tensor = self._head(hidden).float()
        cap = getattr(self._text, "final_logit_softcapping", None)
        return logits if cap is None else torch.tanh(logits / cap) * cap

    def _next(self, logits: torch.Tensor) -> None:
        """Draw the next token of every row and note it."""
        import torch

        draw = self._draw
        if draw.shortest:
            is_early = self._step < draw.shortest
            logits[:, self._ends] = torch.where(is_early, -torch.inf, logits[:, self._ends])
        if draw.never:
            logits.index_fill_(1, self._never, -torch.inf)
        if draw.temperature != 1:
            logits = logits / draw.temperature
        for warper in draw.warpers:
            logits = warper(None, logits)
        drawn = torch.multinomial(torch.softmax(logits, dim=-1), 1)
        drawn = torch.where(self._is_over[:, None], draw.padding, drawn)
        self._token.copy_(drawn)
        self._drawn.index_copy_(1, self._step, drawn)
        self._is_over |= (drawn == self._ends).any(dim=1)

    def _advance(self) -> None:
        """One token further: read the last one, draw the next."""
        cache = self._cache
        assert cache.place is not None
        self._is_key.index_fill_(1, cache.place, True)
        self._step += 1
        output = self._decoder(
            input_ids=self._token,
            position_ids=self._position.expand(self._axes, -1, -1) if self._axes > 1 else self._position,
            attention_mask=self._mask(),
            use_cache=True,
            **{self._cache_name: cache},
        )
        self._next(self._logits(output.last_hidden_state[:, -1]))
        self._position += 1
        cache.place += 1

    def _mask(self) -> Any:
        import torch

        seen = self._is_key[:, None, None, : self._cache.seen]
        columns, place = torch.arange(seen.shape[-1], device=seen.device), self._cache.place
        assert place is not None
        return by_layer(
            self._text,
            lambda window: seen if window is None else seen & (columns > place - window),
        )

    def run(self) -> None:
        """Sample until all have ended or the longest length is reached."""
        left = self._draw.longest - 1
        if self._token.device.type != "cuda":
            while left and not bool(self._is_over.all()):
                self._cache.seen = self._width + self._draw.longest - left
                self._advance()
                left -= 1
            return
        for _ in range(min(BEFORE_RECORDING, left)):
            self._advance()
            left -= 1
        if left:
            self._play(left)

    def _play(self, left: int) -> None:
        """The rest from a recording of one step."""
        import torch

        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._advance()
        while left:
            for _ in range(min(ASK_EVERY, left)):
                graph.replay()
                left -= 1
            if bool(self._is_over.all()):
                break
        torch.cuda.synchronize()
        graph.reset()

    def completions(self) -> list[list[int]]:
        """Ids of each row up to its ending token."""
        ends, found = set(self._draw.ends), []
        written = int(self._step) + 1
        for ids in self._drawn[:, :written].tolist():
            last = next((place for place, token in enumerate(ids) if token in ends), len(ids) - 1)
            found.append(ids[: last + 1])
        return found
