"""What training takes of a GPU's memory, term by term, from sizes alone.

The terms follow the model's own operations: which tensors each layer keeps for its backward pass, in which numeric form.
`benchmarks/bench_preflight.py` measures the same terms on models that are built and trained, and publishes the difference.
"""

from dataclasses import dataclass

from medmo_ray.config.architecture import Architecture
from medmo_ray.config.sft import PARTS, LoraSettings, Part, TuningSettings

GIB = 2**30
MASTER_BYTES, GRADIENT_BYTES, MOMENT_BYTES = 4, 4, 8
"""float32 weights, gradients, and AdamW's two moments (`medmo_ray.model.shard`)."""
CHUNK_TOKENS = 1024
"""Tokens whose logits `tuning.cross_entropy=chunked` holds at a time (`medmo_ray.model.answers`)."""
PATCH_VALUES = 1536
"""Values of a patch: 16 × 16 pixels, three colours, twice (Qwen3-VL pairs frames; an image is its own pair)."""


@dataclass(frozen=True)
class MicroBatch:
    """What one worker computes at once.

    Attributes:
        tokens: of the language model, padding included.
        learnt: tokens that are predicted, whose logits are computed.
        patches: of the vision tower.
    """

    tokens: float
    learnt: float
    patches: float


@dataclass(frozen=True)
class Arithmetic:
    """How a stage computes.

    Attributes:
        number_bytes: of an activation and a gathered weight: 2 for bfloat16, 4 for float32.
        checkpointing: layers keep their input alone and are computed again.
        tuning: what is trained, and the cross entropy.
    """

    number_bytes: int
    checkpointing: bool
    tuning: TuningSettings


@dataclass(frozen=True)
class Moment:
    """One of the moments of a step at which memory may be fullest, in bytes.

    Attributes:
        when: in words.
        exchanged: weights that FSDP2 has gathered, and a layer's gradients on their way to the other workers.
        waiting: gradients of embedding and head, which are exchanged together.
        activations: kept for the backward pass, and what comes and goes.
    """

    when: str
    exchanged: float
    waiting: float
    activations: float

    @property
    def total(self) -> float:
        return self.exchanged + self.waiting + self.activations


@dataclass(frozen=True)
class Memory:
    """Of one GPU, in bytes, when it is fullest.

    Attributes:
        parameters: this worker's share of the float32 weights.
        gradients: its share of those of what is trained.
        optimizer: its share of their two moments.
        in_flight: weights that are gathered and gradients that are not yet scattered.
        activations: kept for the backward pass, and what comes and goes.
        when: the moment, in words.
    """

    parameters: float
    gradients: float
    optimizer: float
    in_flight: float
    activations: float
    when: str

    @property
    def total(self) -> float:
        return self.state + self.in_flight + self.activations

    @property
    def state(self) -> float:
        """What stays through all steps."""
        return self.parameters + self.gradients + self.optimizer


def training_memory(sizes: Architecture, how: Arithmetic, batch: MicroBatch, num_workers: int) -> Memory:
    """Memory of one of `num_workers` GPUs that share the training state (FSDP2)."""
    trained, still = trained_parameters(sizes, how.tuning)
    fullest = max(moments(sizes, how, batch), key=lambda moment: moment.total)
    return Memory(
        parameters=MASTER_BYTES * (trained + still) / num_workers,
        gradients=GRADIENT_BYTES * trained / num_workers,
        optimizer=MOMENT_BYTES * trained / num_workers,
        in_flight=fullest.exchanged + fullest.waiting,
        activations=fullest.activations,
        when=fullest.when,
    )


def moments(sizes: Architecture, how: Arithmetic, batch: MicroBatch) -> tuple[Moment, ...]:
    """The turn from the forward to the backward pass, the first layers on the way back, and its end at the embedding.

    Embedding and head are gathered for the whole step, layers two at a time. Gradients are computed in the gathered form
    and summed in float32. At the end those of embedding and head are there together, and their sum where they are one.
    """
    number, matrix = how.number_bytes, sizes.vocab_size * sizes.hidden_size
    ends = matrix * (1 if sizes.tied_embeddings else 2)
    layer = (sizes.text_parameters - ends) / sizes.num_layers
    learns = 1 if trains_whole(how.tuning, "language") else 0
    kept, logits = kept_bytes(sizes, how, batch), kept_logits_bytes(sizes, how, batch)
    pixels = 4 * PATCH_VALUES * batch.patches
    back = kept - logits + layer_bytes(sizes, how, batch)
    both = learns * number * matrix * (3 if sizes.tied_embeddings else 2)
    return (
        Moment("logits", number * (ends + layer), 0, kept + head_bytes(sizes, how, batch) - logits),
        Moment("backward", number * (ends + 2 * layer) + learns * (number + 4) * layer, learns * number * matrix, back),
        Moment("gradients of embedding and head", number * ends, both, pixels),
        Moment("exchange of those gradients", number * ends + learns * (number + 4) * ends, 0, pixels),
    )


def trained_parameters(sizes: Architecture, tuning: TuningSettings) -> tuple[int, int]:
    """Parameters that are trained, adapters among them, and those that stay as they are."""
    adapted = tuning.lora.parts if tuning.lora else ()
    whole = {part: _parameters(sizes, part) for part in PARTS}
    trained = sum(count for part, count in whole.items() if part not in (*tuning.frozen, *adapted))
    still = sizes.parameters - trained
    return trained + (adapter_parameters(sizes, tuning.lora) if tuning.lora else 0), still


def adapter_parameters(sizes: Architecture, lora: LoraSettings) -> int:
    """Of both matrices of every linear layer of the adapted parts: rank × (inputs + outputs)."""
    hidden, queries, keys = (
        sizes.hidden_size,
        sizes.num_heads * sizes.head_dim,
        sizes.num_key_value_heads * sizes.head_dim,
    )
    width, wide = sizes.vision_hidden_size, sizes.vision_hidden_size * sizes.merge**2
    ends = {
        "language": sizes.num_layers * (2 * (hidden + queries) + 2 * (hidden + keys) + 3 * (hidden + sizes.intermediate_size)),
        "vision": sizes.vision_depth * (4 * width + 2 * width + 2 * (width + sizes.vision_intermediate_size)),
        "projector": (1 + sizes.num_deepstack) * (2 * wide + wide + hidden),
    }  # fmt: skip
    return lora.rank * sum(ends[part] for part in lora.parts)


def kept_bytes(sizes: Architecture, how: Arithmetic, batch: MicroBatch) -> float:
    """What the forward pass keeps for the backward pass, and the batch itself."""
    number, tokens = how.number_bytes, batch.tokens
    text = text_layer_bytes(sizes, how) if not how.checkpointing else number * sizes.hidden_size
    ends = (4 + number) * sizes.hidden_size * tokens + number * sizes.hidden_size * batch.learnt
    # As they came, in float32, and where the first layer learns from them as it took them in.
    cast = number if number != 4 and trains_whole(how.tuning, "vision") else 0
    pixels = (4 + cast) * PATCH_VALUES * batch.patches
    layers = sizes.num_layers * text * tokens + _vision_bytes(sizes, how) * batch.patches
    return layers + ends + pixels + kept_logits_bytes(sizes, how, batch)


def kept_logits_bytes(sizes: Architecture, how: Arithmetic, batch: MicroBatch) -> float:
    """Log probabilities in float32 of every token that is predicted, unless the cross entropy goes without."""
    return 4 * sizes.vocab_size * batch.learnt if how.tuning.cross_entropy == "whole" else 0


def text_layer_bytes(sizes: Architecture, how: Arithmetic) -> float:
    """A token's share of what a language layer keeps.

    Each of the two norms: its input in float32, the normalised values and its output. Queries, keys: the same but for the
    output, then the rotated ones; values; the attention's output. The MLP: gate, its SiLU, up and their product.
    """
    number, adapters = how.number_bytes, how.tuning.lora
    queries, keys = sizes.num_heads * sizes.head_dim, sizes.num_key_value_heads * sizes.head_dim
    normalised = number if trains_whole(how.tuning, "language") else 0  # kept for the norms' own weights
    norms = 2 * (4 + normalised + number) * sizes.hidden_size
    attention = (4 + normalised + 2 * number) * (queries + keys)
    rank = 7 * number * adapters.rank if adapters and "language" in adapters.parts else 0
    return norms + attention + 4 * number * sizes.intermediate_size + rank


def vision_block_bytes(sizes: Architecture, how: Arithmetic) -> float:
    """A patch's share of what a block of the vision tower keeps.

    Inputs and outputs of both norms; queries and keys as rotated, and all three as projected (a view keeps them); the
    attention's output twice; the MLP before and after its GELU.
    """
    number, adapters = how.number_bytes, how.tuning.lora
    rank = 4 * number * adapters.rank if adapters and "vision" in adapters.parts else 0
    return 11 * number * sizes.vision_hidden_size + 2 * number * sizes.vision_intermediate_size + rank


def _vision_bytes(sizes: Architecture, how: Arithmetic) -> float:
    """A patch's share of what the tower and its mergers keep: nothing, where nothing of them is trained."""
    frozen = how.tuning.frozen
    number, width, mergers = how.number_bytes, sizes.vision_hidden_size, 1 + sizes.num_deepstack
    # A merger joins merge² patches into one wide token: normalised, through the first layer, through GELU.
    merging = 3 * number * width * mergers
    if "vision" not in frozen:
        block = number * width if how.checkpointing else vision_block_bytes(sizes, how)
        return sizes.vision_depth * block + number * width + merging
    return merging + number * width * mergers if "projector" not in frozen else 0


def layer_bytes(sizes: Architecture, how: Arithmetic, batch: MicroBatch) -> float:
    """What comes and goes with the backward pass of a layer: what it computes again, and the gradients of its MLP."""
    again = text_layer_bytes(sizes, how) if how.checkpointing else 0
    text = (again + 3 * how.number_bytes * sizes.intermediate_size) * batch.tokens
    if "vision" in how.tuning.frozen or not how.checkpointing:
        return text
    return max(text, vision_block_bytes(sizes, how) * batch.patches)


def head_bytes(sizes: Architecture, how: Arithmetic, batch: MicroBatch) -> float:
    """Logits in the model's form, and three times in float32: log probabilities and the two factors of the entropy."""
    number, vocabulary = how.number_bytes, sizes.vocab_size
    if how.tuning.cross_entropy == "whole":
        return (number + 12) * vocabulary * batch.learnt
    if how.tuning.cross_entropy == "chunked":
        return (number + 12) * vocabulary * min(batch.learnt, CHUNK_TOKENS)
    # Liger takes chunks of about learnt × hidden logits, and computes the head's gradient in the forward pass.
    return (number + 12) * batch.learnt * sizes.hidden_size + number * vocabulary * sizes.hidden_size


def trains_whole(tuning: TuningSettings, part: Part) -> bool:
    """Whether a part's own weights are trained."""
    return part not in tuning.frozen and not (tuning.lora and part in tuning.lora.parts)


def _parameters(sizes: Architecture, part: Part) -> int:
    if part == "language":
        return sizes.text_parameters
    return sizes.projector_parameters if part == "projector" else sizes.vision_parameters - sizes.projector_parameters
