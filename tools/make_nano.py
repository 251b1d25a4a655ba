"""Writes the embedded model, musicgen-nano: a miniature MusicGen in the Hugging Face format, from a seed.

    python -m tools.make_nano [FOLDER]

The weights are untrained: it is a real checkpoint for the real loader, and makes noise.
"""

import json
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    EncodecConfig,
    EncodecFeatureExtractor,
    MusicgenConfig,
    MusicgenDecoderConfig,
    MusicgenForConditionalGeneration,
    T5Config,
    T5Tokenizer,
)

FOLDER = Path(__file__).parent.parent / "serve_app" / "assets" / "musicgen-nano"
VOCABULARY = """
a an and the of in with at on for to bpm tempo slow fast medium key major minor music song track loop beat beats
lofi hip hop jazz rock pop folk funk soul blues classical ambient electronic techno house trance disco metal punk
country reggae latin orchestral cinematic chill calm happy sad dark bright warm cold dreamy energetic relaxed
peaceful epic romantic mysterious playful nostalgic piano guitar bass drums strings violin cello flute bell bells
organ synth pad lead pluck brass choir vocals instrumental high quality production vintage modern polished raw soft
loud gentle driving steady rhythm melody chords groove atmosphere texture night morning summer rain ocean city
forest dance study sleep focus background upbeat mellow 0 1 2 3 4 5 6 7 8 9 60 70 80 90 100 110 120 130 140 150 160
170 180 , . - ' !
"""


def make_tokenizer() -> T5Tokenizer:
    """A unigram tokenizer of words about music that can spell other words letter by letter."""
    special = ["<pad>", "</s>", "<unk>"]
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    alphabet = [chr(c) for c in range(33, 127)]
    trainer = trainers.UnigramTrainer(
        vocab_size=512, special_tokens=special, unk_token="<unk>", initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([VOCABULARY] * 4, trainer)
    pieces = [tuple(entry) for entry in json.loads(tokenizer.to_str())["model"]["vocab"]]
    return T5Tokenizer(vocab=pieces, extra_ids=0)


def make_model(vocab_size: int) -> MusicgenForConditionalGeneration:
    t5 = T5Config(vocab_size=vocab_size, d_model=64, d_kv=32, d_ff=128, num_layers=2, num_heads=2)
    codec = EncodecConfig(
        sampling_rate=32_000, audio_channels=1, upsampling_ratios=[8, 5, 4, 4], num_filters=8, hidden_size=32,
        codebook_size=512, target_bandwidths=[1.8], use_causal_conv=False, use_conv_shortcut=False,
    )  # fmt: skip
    decoder = MusicgenDecoderConfig(
        vocab_size=512, num_hidden_layers=4, ffn_dim=512, num_attention_heads=4, hidden_size=128, num_codebooks=4,
        pad_token_id=512, bos_token_id=512,
    )  # fmt: skip
    config = MusicgenConfig(text_encoder=t5.to_dict(), audio_encoder=codec.to_dict(), decoder=decoder.to_dict())
    model = MusicgenForConditionalGeneration(config)
    for layer in model.audio_encoder.quantizer.layers:
        torch.nn.init.normal_(layer.codebook.embed)
    return model.eval()


def save(model: MusicgenForConditionalGeneration, tokenizer: T5Tokenizer, folder: Path) -> None:
    """Write the model in half precision, with all that `transformers` needs to use it."""
    special = model.config.decoder.pad_token_id
    generation = model.generation_config
    generation.decoder_start_token_id = generation.pad_token_id = generation.bos_token_id = special
    generation.guidance_scale, generation.do_sample, generation.max_length = 3.0, True, 1504
    model.half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    EncodecFeatureExtractor(feature_size=1, sampling_rate=32_000).save_pretrained(folder)
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"{folder}: {size / 1e6:.1f} MB")


def main(folder: Path) -> None:
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    save(make_model(len(tokenizer)), tokenizer, folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
