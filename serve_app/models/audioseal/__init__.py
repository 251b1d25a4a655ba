"""AudioSeal: a watermark for audio, and its detector, as streams of samples."""
