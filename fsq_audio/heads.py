"""Heads of the decoder: from its frames to samples."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fsq_audio.blocks import WINDOW_FRAMES
from fsq_audio.config import HarmonicNoiseHead, ISTFTHead, TokenizerConfig, TransposedHead
from fsq_audio.filters import band_shares, mel_filters
from fsq_audio.fourier import RealFourier
from fsq_audio.layers import Context, ResidualUnit, kernel_context, leaky
from fsq_audio.source import even_noise, pulse_train


class InverseSTFT(nn.Module):
    """Magnitudes and phases, inverse FFT, windows, overlap-add (Siuzdak 2023, section 3.2).

    Every sample lies under all of its windows, also at the ends, since the frames beyond the
    ends exist: they are computed from latents that are zero there. So the envelope of the windows
    is one constant period, and no end of a recording is amplified.
    """

    # exp(6) is far above any spectrum of a waveform in [-1, 1]; it keeps early training finite.
    MAX_LOG_MAGNITUDE = 6.0

    window: Tensor

    def __init__(self, config: ISTFTHead, *, hop: int, channels: int, causal: bool) -> None:
        super().__init__()
        self.hop, self.subframes = hop, config.subframes
        self.step = hop // config.subframes
        self.window_length = config.window_length
        self.overlap = config.window_length // self.step
        # A causal window starts with its own step and rings on; a centred one starts earlier.
        self.offset = 0 if causal else (self.window_length - self.step) // 2
        neighbours = Context(self.overlap - 1, 0) if causal else Context(*[self.overlap // 2] * 2)
        self.context = Context(*(-(-count // self.subframes) for count in neighbours))
        self.fourier = RealFourier(self.window_length)
        self.spectrum = nn.Linear(channels, self.subframes * (self.window_length + 2))
        self.register_buffer("window", synthesis_window(self.window_length, self.step), False)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, context.left + T + context.right, C]` -> `[B, T * hop]`."""
        coefficients = self.spectrum(x)
        with torch.autocast(x.device.type, enabled=False):
            batch, num_frames, _ = coefficients.shape
            log_magnitude, phase = (
                coefficients.to(self.window.dtype)
                .view(batch, num_frames * self.subframes, self.window_length + 2)
                .chunk(2, dim=-1)
            )
            magnitude = torch.exp(log_magnitude.clamp(max=self.MAX_LOG_MAGNITUDE))
            pieces = self.fourier.inverse(magnitude * phase.cos(), magnitude * phase.sin())
            samples = overlap_add(pieces, self.window, self.step)
        start = self.context.left * self.hop + self.offset
        stop = start + (num_frames - self.context.left - self.context.right) * self.hop
        return samples[:, start:stop]


class HarmonicNoise(nn.Module):
    """Pulses and noise, mixed band by band and filtered (McCree and Barnwell 1995, section II).

    Both are filtered in the short-time spectrum, by gains without a phase (as in Engel et al. 2020,
    sections 3.1 to 3.3). What the codes say is how loud each band is and how much of it is voice;
    that a pitch stays in tune with itself from frame to frame, which frames without a memory cannot
    see to, is the source's part.

    The gains learn from the spectra of the result, the shares of the voice only from how periodic
    the original is: spectral distances prefer even pulses to noise, whose fluctuations never match,
    and left to them fricatives buzz.
    """

    # As in InverseSTFT: it keeps early training finite.
    MAX_LOG_GAIN = 6.0
    # Speech is some 30 dB below a source at unit power: training starts near it.
    FIRST_LOG_GAIN = -4.0

    window: Tensor
    analysis_window: Tensor
    noise: Tensor
    noise_real: Tensor
    noise_imaginary: Tensor
    gain_interpolation: Tensor
    voicing_interpolation: Tensor

    def __init__(
        self, config: HarmonicNoiseHead, *, sample_rate: int, hop: int, channels: int
    ) -> None:
        super().__init__()
        self.hop, self.subframes, self.bands = hop, config.subframes, config.bands
        self.step = hop // config.subframes
        length = self.window_length = config.window_length
        self.offset = (length - self.step) // 2
        # Half a window for those that reach into the frames, and half for the source under these;
        # a frame more at the left, since the pitch of a subframe starts from the one before.
        around = -(-length // hop)
        self.context = Context(around + 1, around)
        self.fourier = RealFourier(length)
        self.gains = nn.Linear(channels, self.subframes * self.bands)
        self.shares = nn.Linear(channels, self.subframes * config.voicing_bands)
        nn.init.constant_(self.gains.bias, self.FIRST_LOG_GAIN)
        for name, bands in ("gain", self.bands), ("voicing", config.voicing_bands):
            filters = mel_filters(sample_rate=sample_rate, window_length=length, bands=bands)
            self.register_buffer(f"{name}_interpolation", band_shares(filters), False)
        self.register_buffer("analysis_window", torch.hann_window(length, device="cpu"), False)
        self.register_buffer("window", synthesis_window(length, self.step), False)
        # It repeats with the windows of a long recording, all of which then begin alike.
        self.register_buffer("noise", even_noise(WINDOW_FRAMES * hop), False)
        # Its spectra then repeat, too, and are computed once.
        circle = torch.cat([self.noise[-self.offset :], self.noise, self.noise[:length]])
        parts = self._spectra(circle[: len(self.noise) + length - self.step])
        for name, part in zip(("real", "imaginary"), parts, strict=True):
            self.register_buffer(f"noise_{name}", part.contiguous(), False)

    def voicing(self, x: Tensor) -> Tensor:
        """The share of the pulses in the power of each band: `[B, T, C]` -> `[B, T * N, bands]`.

        N is the number of subframes; 0 to 1, float32 under autocast, too.
        """
        shares = torch.sigmoid(self.shares(x).to(self.voicing_interpolation.dtype))
        return shares.view(x.shape[0], x.shape[1] * self.subframes, -1)

    def forward(self, x: Tensor, source: Tensor, voicing: Tensor) -> Tensor:
        """Mixes and filters the source.

        Args:
            x: `[B, left + T + right, C]`, where left and right are `context`.
            source: `[B, 2 * subframes + 1, left + T + right]` int64, advances, phases and the
                number of the frame (see `fsq_audio.source`).
            voicing: what `voicing` makes of x; no gradient flows through it.

        Returns:
            `[B, T * hop]`.
        """
        gains = self.gains(x)
        with torch.autocast(x.device.type, enabled=False):
            batch, num_frames, _ = x.shape
            gains = gains.to(self.gain_interpolation.dtype)
            bands = gains.view(batch, num_frames * self.subframes, self.bands)
            filters = torch.exp((bands @ self.gain_interpolation).clamp(max=self.MAX_LOG_GAIN))
            with torch.no_grad():
                advances, phases = (
                    part.transpose(1, 2).flatten(1) for part in source[:, :-1].chunk(2, 1)
                )
                pulses = self._spectra_around(pulse_train(advances, phases, step=self.step))
                noise = self._noise(source[:, -1, self.context.left], num_frames)
                share = (voicing @ self.voicing_interpolation).clamp(0, 1)
                # The gains learn beside the mean that is learnt, not beside what becomes of it.
                if not self.training:
                    share = sharpened(share)
                voice, breath = share.sqrt(), (1 - share).sqrt()
                mixed = [
                    (of_noise * breath).add_(of_pulses * voice)
                    for of_pulses, of_noise in zip(pulses, noise, strict=True)
                ]
            pieces = self.fourier.inverse(*(part * filters for part in mixed))
            samples: Tensor = overlap_add(pieces, self.window, self.step)
        start = self.context.left * self.hop + self.offset
        stop = start + (num_frames - self.context.left - self.context.right) * self.hop
        return samples[:, start:stop]

    def _noise(self, start: Tensor, num_frames: int) -> tuple[Tensor, Tensor]:
        """Spectra `[B, num_frames * subframes, bins]` of the noise around frames `start` `[B]`.

        The first `context.left` frames stand before `start`. In training it starts anywhere.
        """
        first = start[:, None] - self.context.left
        if self.training:
            first = torch.randint(len(self.noise), first.shape, device=first.device)
            places = first + torch.arange(num_frames * self.hop, device=first.device)
            return self._spectra_around(self.noise[places % len(self.noise)])
        rows = torch.arange(num_frames * self.subframes, device=first.device)
        rows = (first * self.subframes + rows) % len(self.noise_real)
        return F.embedding(rows, self.noise_real), F.embedding(rows, self.noise_imaginary)

    def _spectra_around(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """`[B, N * step]` -> two `[B, N, bins]`, of windows where the synthesis windows lie."""
        around = Context(self.offset, self.window_length - self.step - self.offset)
        return self._spectra(around.pad(waveform))

    def _spectra(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        frames = waveform.unfold(-1, self.window_length, self.step)
        real, imaginary = self.fourier(frames * self.analysis_window)
        return real, imaginary


class ConvUpsampler(nn.Module):
    """Transposed convolutions with residual units, to raw samples."""

    def __init__(self, config: TransposedHead, *, channels: int, causal: bool) -> None:
        super().__init__()
        width = config.base_channels * 2 ** len(config.strides)
        self.project = nn.Linear(channels, width)
        self.layers = nn.ModuleList()
        for stride in config.strides:
            self.layers.append(Upsample(width, stride=stride, causal=causal))
            width //= 2
            for dilation in (1, 3):
                self.layers.append(ResidualUnit(width, dilation=dilation, causal=causal))
        self.last = nn.Conv1d(width, 1, 7)
        last_context = kernel_context(6, causal=causal)

        needed = last_context
        for layer in reversed(self.layers):
            if isinstance(layer, Upsample):
                needed = layer.input_context(needed)
            else:
                assert isinstance(layer, ResidualUnit)
                needed = needed + layer.context
        self.context = needed
        # Whole frames were asked for, so a little more arrives at the end than is needed.
        for layer in self.layers:
            if isinstance(layer, Upsample):
                needed = layer.output_context(needed)
            else:
                assert isinstance(layer, ResidualUnit)
                needed = Context(
                    needed.left - layer.context.left, needed.right - layer.context.right
                )
        self.excess = Context(needed.left - last_context.left, needed.right - last_context.right)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, context.left + T + context.right, C]` -> `[B, T * hop]`."""
        y = self.project(x).transpose(1, 2)
        for layer in self.layers:
            y = layer(y)
        return self.excess.crop(self.last(leaky(y))).squeeze(1).float()


class Upsample(nn.Module):
    """A transposed convolution of kernel `2 * stride`, kept where both its inputs exist.

    Causal, frame t gives the samples of frames t - 1 and t; otherwise it is centred. Computed as a
    matrix product and the sum of two halves, in a fixed order: of torch's own transposed
    convolution, some shapes give other bits with one thread than with two.
    `[B, C, T]` -> `[B, C / 2, (T - 1 or T - 2) * stride]`.
    """

    def __init__(self, channels: int, *, stride: int, causal: bool) -> None:
        super().__init__()
        self.stride = stride
        self.neighbours = Context(1, 0) if causal else Context(1, 1)
        self.offset = 0 if causal else stride // 2
        self.taps = nn.Linear(channels, 2 * stride * (channels // 2), bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, T]` -> `[B, C / 2, (T - 1 or T - 2) * stride]`."""
        batch, channels, num_frames = x.shape
        taps: Tensor = self.taps(leaky(x).transpose(1, 2))
        first, second = taps.view(batch, num_frames, 2, self.stride * (channels // 2)).unbind(2)
        y = (first[:, 1:] + second[:, :-1]).reshape(batch, -1, channels // 2)
        num_samples = (num_frames - sum(self.neighbours)) * self.stride
        return y[:, self.offset : self.offset + num_samples].transpose(1, 2)

    def input_context(self, needed: Context) -> Context:
        """Frames to ask for, so that at least `needed` samples of context come out."""
        left, right = (-(-count // self.stride) for count in needed)
        return Context(left, right) + self.neighbours

    def output_context(self, given: Context) -> Context:
        """Samples of context that come out where `given` frames went in."""
        left, right = self.neighbours
        return Context(given.left - left, given.right - right).times(self.stride)


def build_head(config: TokenizerConfig) -> InverseSTFT | HarmonicNoise | ConvUpsampler:
    """The head that the configuration names."""
    head, channels = config.decoder.head, config.decoder.trunk.channels
    if isinstance(head, TransposedHead):
        return ConvUpsampler(head, channels=channels, causal=config.causal)
    if isinstance(head, HarmonicNoiseHead):
        return HarmonicNoise(
            head,
            sample_rate=config.sample_rate,
            hop=config.hop_length,
            channels=channels,
        )
    return InverseSTFT(head, hop=config.hop_length, channels=channels, causal=config.causal)


def synthesis_window(length: int, step: int) -> Tensor:
    """A Hann window over the sum of its shifted squares: `[length]` float32."""
    window = torch.hann_window(length, dtype=torch.float64, device="cpu")
    envelope = window.square().view(-1, step).sum(0).repeat(length // step)
    return (window / envelope).float()


def sharpened(shares: Tensor) -> Tensor:
    """Shares nearer to 0 and 1; of the same shape.

    What is learnt is the mean of what may be. A band is rarely half voice, half breath, and sounds
    hoarse if it is made so wherever the codes leave it open. In resynthesis of
    validation recordings flatter curves favoured PESQ, steeper ones STOI: squares are in between.
    """
    voice, noise = shares**2, (1 - shares) ** 2
    return voice / (voice + noise)


def overlap_add(pieces: Tensor, window: Tensor, step: int) -> Tensor:
    """Adds up windowed pieces that start `step` apart: `[B, N, W]` -> `[B, (N - 1) * step + W]`.

    Shifted sums in a fixed order, so that a sample does not depend on where its window stands.
    """
    batch, num_pieces, length = pieces.shape
    overlap = length // step
    shifted, weights = pieces.view(batch, num_pieces, overlap, step), window.view(overlap, step)
    total = pieces.new_zeros(batch, num_pieces + overlap - 1, step)
    for position in range(overlap):
        part = total[:, position : position + num_pieces]
        part.addcmul_(shifted[:, :, position], weights[position])
    return total.view(batch, -1)
