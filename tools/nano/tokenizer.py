"""Tokenizer of the embedded model: one token for each word of its prompts, letters otherwise."""

import math
from collections import Counter

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from tools.nano.prompts import LONGEST_S, random_example

PROMPTS = 4000  # prompts whose words are counted
RARE = 5  # words counted fewer times get no token
# Words that users write and the prompts lack: each gets a token, for further training.
OTHER_WORDS = """
soul blues edm metal punk country reggae latin cold brass choir raw loud texture night morning
summer rain ocean city forest dance study sleep focus background atmosphere rhythm melody groove
an the of to for ambience vibes beats song
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
CHARACTER_SCORE = -20.0  # lower than that of any word, so that spelling is the last resort


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Build a lower-case unigram tokenizer (arXiv:1804.10959). Each tempo and length is one token."""
    vocabulary = [(token, 0.0) for token in SPECIAL] + _vocabulary()
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=2))
    tokenizer.normalizer = NORMALIZER
    tokenizer.pre_tokenizer = WORDS
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


def _vocabulary() -> list[tuple[str, float]]:
    """Words with the logarithm of their frequency, then characters."""
    counts = _word_counts()
    total = counts.total()
    words = [(word, math.log(count / total)) for word, count in sorted(counts.items())]
    letters = (letter for letter in ["▁", *CHARACTERS] if letter not in counts)
    return words + [(letter, CHARACTER_SCORE) for letter in letters]


def _word_counts() -> Counter[str]:
    """Frequent words of the prompts, all tempos, and OTHER_WORDS."""
    counts = Counter[str]()
    for seed in range(PROMPTS):
        for word, _ in WORDS.pre_tokenize_str(NORMALIZER.normalize_str(random_example(seed)[1])):
            counts[word.rstrip(",")] += 1
            counts[","] += word.endswith(",")
    counts = Counter({word: count for word, count in counts.items() if count >= RARE})
    counts.update(f"▁{number}" for number in (*range(1, LONGEST_S + 1), *range(60, 181)))
    counts.update("▁" + word for word in OTHER_WORDS.split())
    return counts
