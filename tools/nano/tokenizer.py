"""The embedded model's tokenizer: the words of its own prompts, each a token, and letters for all others."""

import math
from collections import Counter

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from tools.nano.prompts import random_piece

PROMPTS = 4000  # that words are counted in
RARE = 5  # times: a word that is met less often is not one
# Words that callers use and the prompts do not: a token each, for whoever trains the model further.
OTHER_WORDS = """
soul blues edm metal punk country reggae latin cold brass choir raw loud texture night morning summer rain ocean city
forest dance study sleep focus background atmosphere rhythm melody groove an the of to for ambience vibes beats song
"""
SPECIAL = ("<pad>", "</s>", "<unk>")
NORMALIZER = normalizers.Sequence(
    [
        normalizers.NFKC(),
        normalizers.Lowercase(),
        normalizers.Replace(Regex(r"\blo[- ]fi\b"), "lofi"),
        normalizers.Replace("-", " "),
    ]
)
WORDS = pre_tokenizers.Sequence(
    [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Digits(), pre_tokenizers.Metaspace()]
)
CHARACTERS = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
CHARACTER_SCORE = -20.0  # spelling is the last resort


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A unigram tokenizer (arXiv:1804.10959) in lower case: pieces by how often they occur. Each tempo is one token."""
    tokenizer = Tokenizer(models.Unigram([(piece, 0.0) for piece in SPECIAL] + _pieces(), unk_id=2))
    tokenizer.normalizer, tokenizer.pre_tokenizer = NORMALIZER, WORDS
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        "$A </s>", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_input_names=["input_ids", "attention_mask"],
    )


def _pieces() -> list[tuple[str, float]]:
    """Each piece with the logarithm of its share."""
    counts = Counter[str]()
    for seed in range(PROMPTS):
        for word, _ in WORDS.pre_tokenize_str(NORMALIZER.normalize_str(random_piece(seed)[1])):
            counts[word.rstrip(",")] += 1
            counts[","] += word.endswith(",")
    counts = Counter({piece: count for piece, count in counts.items() if count >= RARE})
    counts.update(f"▁{bpm}" for bpm in range(60, 181))
    counts.update("▁" + word for word in OTHER_WORDS.split())
    total = counts.total()
    words = [(piece, math.log(count / total)) for piece, count in sorted(counts.items())]
    return words + [
        (letter, CHARACTER_SCORE) for letter in ["▁", *CHARACTERS] if letter not in counts
    ]
