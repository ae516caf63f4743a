"""ComfyUI's schedules and samplers, written out from the published formulas in float64 on sigmas as ComfyUI holds them (f32).

Where ComfyUI's own numbers depend on its arithmetic (kl_optimal at zero SNR, DEIS' sum of 10000 values, ipndm_v's third order) the
same arithmetic is done here. Every sampler is a function of a Run, which holds the sigmas, the two denoisers and the noise.
"""
import math

import numpy as np
import torch

f32 = lambda v: float(np.float32(v))


class Discrete:
    """A discrete schedule as ComfyUI holds it, with scaled-linear betas."""

    def __init__(self, zero_snr=False, count=1000, first=0.00085, last=0.012):
        betas = np.linspace(first ** 0.5, last ** 0.5, count) ** 2
        abar = np.cumprod(1 - betas)
        if zero_snr:
            root = np.sqrt(abar)
            root = (root - root[-1]) * root[0] / (root[0] - root[-1])
            abar = root ** 2
            abar[-1] = 4.8973451890853435e-08
        self.count = count
        self.sigmas = np.sqrt((1 - abar) / abar).astype(np.float32).astype(np.float64)
        self.logs = np.log(self.sigmas).astype(np.float32).astype(np.float64)

    def sigma(self, t):
        t = min(max(t, 0), self.count - 1)
        low, high = math.floor(t), math.ceil(t)
        w = t - low
        return math.exp((1 - w) * self.logs[low] + w * self.logs[high])

    def timestep(self, sigma):
        return int(np.abs(math.log(sigma) - self.logs).argmin())

    def spaced(self, name, n):
        top, bottom, count = self.sigmas[-1], self.sigmas[0], self.count
        end = [0.0]
        if name == "normal":
            s = [self.sigma(t) for t in np.linspace(count - 1, 0, n)]
        elif name == "sgm_uniform":
            s = [self.sigma(t) for t in np.linspace(count - 1, 0, n + 1)[:-1]]
        elif name == "simple":
            s = [self.sigmas[-(1 + int(i * (count / n)))] for i in range(n)]
        elif name == "karras":
            s = karras(n, top, bottom, 7)
        elif name == "exponential":
            s = np.exp(np.linspace(math.log(top), math.log(bottom), n))
        elif name == "ddim_uniform":
            s = self.sigmas[1::max(count // n, 1)][::-1]
        elif name == "beta":
            s = self.beta(n, 0.6, 0.6)
        elif name == "linear_quadratic":
            if n == 1:
                away = [0.0]
            else:
                half, threshold = n // 2, 0.025
                away = [i * threshold / half for i in range(half)]
                # the parabola a i^2 + b i + c through (half, threshold) with the slope threshold / half there, and (n, 1)
                a, b, c = np.linalg.solve([[half ** 2, half, 1], [2 * half, 1, 0], [n ** 2, n, 1]],
                                          [threshold, threshold / half, 1])
                away += [a * i * i + b * i + c for i in range(half, n)]
            s = (torch.tensor([1.0 - v for v in away], dtype=torch.float32) * torch.tensor(top, dtype=torch.float32)).numpy()
        elif name == "kl_optimal":
            part = torch.arange(n, dtype=torch.float32) / (n - 1) if n > 1 else torch.zeros(1)
            s = torch.tan(part * math.atan(bottom) + (1 - part) * math.atan(top)).numpy()
        else:
            raise KeyError(name)
        return np.array([*s, *end]).astype(np.float32).astype(np.float64)

    def beta(self, n, alpha, beta):
        import scipy.stats
        t = np.rint(scipy.stats.beta.ppf(1 - np.linspace(0, 1, n, endpoint=False), alpha, beta) * (self.count - 1))
        return [self.sigmas[int(v)] for i, v in enumerate(t) if i == 0 or v != t[i - 1]]

    def sd_turbo(self, n, denoise):
        t = [100 * k - 1 for k in range(10, 0, -1)][10 - int(10 * denoise):][:n]
        return [self.sigma(v) for v in t] + [0.0]


def karras(n, top, bottom, rho):
    return (top ** (1 / rho) + np.linspace(0, 1, n) * (bottom ** (1 / rho) - top ** (1 / rho))) ** rho


def polyexponential(n, top, bottom, rho):
    return [*np.exp(np.linspace(1, 0, n) ** rho * math.log(top / bottom) + math.log(bottom)), 0.0]


def laplace(n, top, bottom, mu, beta):
    x = np.linspace(0, 1, n)
    return np.clip(np.exp(mu - beta * np.sign(0.5 - x) * np.log(1 - 2 * np.abs(0.5 - x) + 1e-5)), bottom, top)


def vp(n, beta_d, beta_min, eps):
    t = np.linspace(1, eps, n)
    return [*np.sqrt(np.expm1(beta_d * t ** 2 / 2 + beta_min * t)), 0.0]


SKIP_LAST_BUT_ONE = ("dpm_2", "dpm_2_ancestral", "uni_pc", "uni_pc_bh2")


def run_sigmas(d, sampler, schedule, steps, denoise=1.0, start=0, end=0, leftover=False):
    """The nodes KSampler and KSampler (Advanced)."""
    total = steps if denoise > 0.9999 else int(steps / denoise)
    if sampler in SKIP_LAST_BUT_ONE:
        s = d.spaced(schedule, total + 1)
        s = np.concatenate([s[:-2], s[-1:]])
    else:
        s = d.spaced(schedule, total)
    if denoise <= 0.9999:
        s = s[-(steps + 1):]
    if end and end < len(s) - 1:
        s = s[:end + 1].copy()
        if not leftover:
            s[-1] = 0
    return s[start:].copy()


# ------------------------------------------------------------------ PyTorch's CUDA generator

def philox_words(seed, block, threads):
    """Philox4x32-10 (Salmon et al. 2011) for every thread: uint32 [4, threads]."""
    mask = np.uint64(0xFFFFFFFF)
    c = [np.full(threads, block & 0xFFFFFFFF, np.uint64), np.full(threads, block >> 32, np.uint64),
         np.arange(threads, dtype=np.uint64), np.zeros(threads, np.uint64)]
    k = [seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF]
    for _ in range(10):
        a, b = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = [b >> np.uint64(32) ^ c[1] ^ np.uint64(k[0]), b & mask, a >> np.uint64(32) ^ c[3] ^ np.uint64(k[1]), a & mask]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return np.array(c).astype(np.uint32)


class CudaGenerator:
    """torch.randn on a GPU of so many threads: distribution_nullary_kernel with cuRAND's curand_normal4, unroll 4."""

    def __init__(self, seed, most_threads=108 * 2048):
        self.seed, self.block, self.most = seed, 0, most_threads

    def randn(self, n):
        threads = min((n + 255) // 256 * 256, self.most)
        out = np.zeros((n + 4 * threads - 1) // (4 * threads) * 4 * threads, np.float32)
        for first in range(0, n, 4 * threads):
            w = philox_words(self.seed, self.block, threads).astype(np.float32)
            self.block += 1
            for pair in (0, 2):
                u = w[pair] * np.float32(2.3283064e-10) + np.float32(2.3283064e-10 / 2)
                v = w[pair + 1] * np.float32(2.3283064e-10 * 6.2831855) + np.float32(2.3283064e-10 * 6.2831855 / 2)
                r = np.sqrt(np.float32(-2) * np.log(u))
                out[first + pair * threads:first + (pair + 1) * threads] = r * np.sin(v)
                out[first + (pair + 1) * threads:first + (pair + 2) * threads] = r * np.cos(v)
        return out[:n]


# ------------------------------------------------------------------ a run

class Run:
    """denoise(x, t), unguided(x, t): f32 arrays in and out, raw predictions."""

    def __init__(self, d, sigmas, denoise, unguided, prediction, eta, seed, shape, cuda_noise=False, cuda_tree=False):
        self.d, self.s, self.prediction, self.seed, self.shape = d, sigmas, prediction, seed, shape
        self.raw, self.raw_unguided, self.calls = denoise, unguided, 0
        self.eta = 1.0 if eta < 0 else eta
        self.cuda_tree, self.tree = cuda_tree, None
        n = int(np.prod(shape))
        if cuda_noise:
            self.generator = CudaGenerator(seed)
            self.generator.randn(n)
            self.noise = lambda: self.generator.randn(n).reshape(shape).astype(np.float64)
        else:
            self.generator = torch.Generator().manual_seed(seed + 1)
            self.noise = lambda: torch.randn(shape, generator=self.generator).numpy().astype(np.float64)

    def _x0(self, raw, x, sigma):
        out = raw(np.float32(x) / np.float32(math.sqrt(sigma ** 2 + 1)), self.d.timestep(sigma)).astype(np.float64)
        if self.prediction == "epsilon":
            out = x - sigma * out
        elif self.prediction == "v_prediction":
            out = x / (sigma ** 2 + 1) - out * sigma / math.sqrt(sigma ** 2 + 1)
        return out

    def __call__(self, x, sigma):
        self.calls += 1
        return self._x0(self.raw, x, f32(sigma))

    def both(self, x, sigma):
        return self(x, sigma), self._x0(self.raw_unguided, x, f32(sigma))

    def brownian(self, a, b):
        """Normal noise of the tree between the levels a > b."""
        import torchsde
        t32 = lambda v: torch.tensor(v, dtype=torch.float32)
        interval = __import__("torchsde._brownian.brownian_interval", fromlist=["_randn"])
        plain = interval._randn
        if self.cuda_tree:
            interval._randn = lambda size, dtype, device, seed: torch.from_numpy(
                CudaGenerator(int(seed)).randn(int(np.prod(size))).reshape(size)).to(dtype)
        if self.tree is None:
            s = self.s
            self.tree = torchsde.BrownianTree(t32(s[s > 0].min()), torch.zeros(self.shape), t32(s.max()), entropy=self.seed)
        w = self.tree(t32(b), t32(a)).numpy().astype(np.float64)
        interval._randn = plain
        return -w / math.sqrt(f32(f32(a) - f32(b)))


def ancestral(a, b, eta):
    if eta == 0:
        return b, 0.0
    up = min(b, eta * math.sqrt(b ** 2 * (a ** 2 - b ** 2) / a ** 2))
    return math.sqrt(b ** 2 - up ** 2), up


def steps_of(r):
    return zip(range(len(r.s) - 1), r.s, r.s[1:])


def euler(r, x):
    for _, a, b in steps_of(r):
        x = x + (x - r(x, a)) / a * (b - a)
    return x


def euler_ancestral(r, x):
    for _, a, b in steps_of(r):
        x0 = r(x, a)
        down, up = ancestral(a, b, r.eta)
        x = x + (x - x0) / a * (down - a)
        if down > 0:
            x = x + up * r.noise()
    return x


def euler_cfg_pp(r, x, eta=0.0):
    for _, a, b in steps_of(r):
        x0, u0 = r.both(x, a)
        down, up = ancestral(a, b, eta)
        if b == 0:
            x = x0
            continue
        x = x0 + down * (x - u0) / a
        if eta > 0:
            x = x + up * r.noise()
    return x


def euler_ancestral_cfg_pp(r, x):
    return euler_cfg_pp(r, x, r.eta)


def heun(r, x):
    for _, a, b in steps_of(r):
        slope = (x - r(x, a)) / a
        if b > 0:
            ahead = x + slope * (b - a)
            slope = (slope + (ahead - r(ahead, b)) / b) / 2
        x = x + slope * (b - a)
    return x


def heunpp2(r, x):
    n = len(r.s) - 1
    for i, a, b in steps_of(r):
        d1 = (x - r(x, a)) / a
        if i == n - 1:
            x = x + d1 * (b - a)
            continue
        y = x + d1 * (b - a)
        d2 = (y - r(y, b)) / b
        if i == n - 2:
            w = b / (2 * r.s[0])
            x = x + (b - a) * ((1 - w) * d1 + w * d2)
            continue
        c = r.s[i + 2]
        z = y + d2 * (c - b)
        d3 = (z - r(z, c)) / c
        w2, w3 = b / (3 * r.s[0]), c / (3 * r.s[0])
        x = x + (b - a) * ((1 - w2 - w3) * d1 + w2 * d2 + w3 * d3)
    return x


def dpm_2(r, x):
    for _, a, b in steps_of(r):
        d = (x - r(x, a)) / a
        if b == 0:
            x = x + d * (b - a)
            continue
        mid = f32(math.sqrt(a * b))
        y = x + d * (mid - a)
        x = x + (y - r(y, mid)) / mid * (b - a)
    return x


def dpm_2_ancestral(r, x):
    for _, a, b in steps_of(r):
        down, up = ancestral(a, b, r.eta)
        d = (x - r(x, a)) / a
        if down == 0:
            x = x + d * (down - a)
            continue
        mid = f32(math.sqrt(a * down))
        y = x + d * (mid - a)
        x = x + (y - r(y, mid)) / mid * (down - a) + up * r.noise()
    return x


def lms(r, x):
    slopes = []
    for i, a, b in steps_of(r):
        x0 = r(x, a)
        slopes = [np.float32((x - x0) / a), *slopes][:4]
        if b == 0:
            x = x0
            continue
        nodes = [r.s[i - k] for k in range(len(slopes))]
        for j, slope in enumerate(slopes):
            poly = np.poly1d([1.0])
            for k, node in enumerate(nodes):
                if k != j:
                    poly = poly * np.poly1d([1, -node]) / (nodes[j] - node)
            area = poly.integ()
            x = x + (area(b) - area(a)) * slope
        x = np.float32(x).astype(np.float64)  # as ComfyUI keeps it: the method amplifies the rounding
    return x


class Solver:
    """DPM-Solver's steps in t = -log sigma, on the noise (Lu et al. 2022, algorithms 1 and 2)."""

    def __init__(self, r):
        self.r = r

    def eps(self, x, t):
        return (x - self.r(x, math.exp(-t))) / math.exp(-t)

    def step(self, order, x, t, h, e, e1=None, e2=None, r1=None):
        """The end of a step of that order from its noises."""
        end = math.exp(-(t + h))
        x = x - end * math.expm1(h) * e
        if order == 2:
            x = x - end / (2 * r1) * math.expm1(h) * (e1 - e)
        if order == 3:
            x = x - end / (2 / 3) * (math.expm1(h) / h - 1) * (e2 - e)
        return x

    def at_r1(self, x, t, h, e, r1):
        return x - math.exp(-(t + r1 * h)) * math.expm1(r1 * h) * e

    def at_r2(self, x, t, h, e, e1, r1=1 / 3, r2=2 / 3):
        s = math.exp(-(t + r2 * h))
        return x - s * math.expm1(r2 * h) * e - s * (r2 / r1) * (math.expm1(r2 * h) / (r2 * h) - 1) * (e1 - e)


def last_level(s):
    return s[-1] if s[-1] > 0 else s[-2]


def dpm_fast(r, x):
    v, n = Solver(r), len(r.s) - 1
    m = n // 3 + 1
    ts = np.linspace(-math.log(r.s[0]), -math.log(last_level(r.s)), m + 1)
    orders = [3] * (m - 2) + [2, 1] if n % 3 == 0 else [3] * (m - 1) + [n % 3]
    for order, t, after in zip(orders, ts, ts[1:]):
        h = after - t
        e = v.eps(x, t)
        if order == 1:
            x = v.step(1, x, t, h, e)
        elif order == 2:
            e1 = v.eps(v.at_r1(x, t, h, e, 1 / 2), t + h / 2)
            x = v.step(2, x, t, h, e, e1, r1=1 / 2)
        else:
            e1 = v.eps(v.at_r1(x, t, h, e, 1 / 3), t + h / 3)
            e2 = v.eps(v.at_r2(x, t, h, e, e1), t + 2 * h / 3)
            x = v.step(3, x, t, h, e, e2=e2)
    return x


def dpm_adaptive(r, x):
    v = Solver(r)
    t, end, h, before = -math.log(r.s[0]), -math.log(last_level(r.s)), 0.05, x
    while t < end - 1e-5:
        now = min(h, end - t)
        e = v.eps(x, t)
        e1 = v.eps(v.at_r1(x, t, now, e, 1 / 3), t + now / 3)
        low = v.step(2, x, t, now, e, e1, r1=1 / 3)
        e2 = v.eps(v.at_r2(x, t, now, e, e1), t + 2 * now / 3)
        high = v.step(3, x, t, now, e, e2=e2)
        allowed = np.maximum(0.0078, 0.05 * np.maximum(np.abs(low), np.abs(before)))
        error = math.sqrt(np.mean(((low - high) / allowed) ** 2))
        factor = 1 + math.atan((1 / (error + 1e-8)) ** (1 / 3) - 1)
        h *= factor
        if factor >= 0.81:
            x, before, t = high, low, t + now
    return x


def dpmpp_2s_ancestral(r, x):
    for _, a, b in steps_of(r):
        x0 = r(x, a)
        down, up = ancestral(a, b, r.eta)
        if down == 0:
            x = x0
        else:
            mid = f32(math.sqrt(a * down))
            y = mid / a * x + (1 - mid / a) * x0
            x = down / a * x + (1 - down / a) * r(y, mid)
        if b > 0:
            x = x + up * r.noise()
    return x


def dpmpp_2s_ancestral_cfg_pp(r, x):
    for _, a, b in steps_of(r):
        x0, u0 = r.both(x, a)
        down, up = ancestral(a, b, r.eta)
        if down == 0:
            x = u0
        else:
            mid = f32(math.sqrt(a * down))
            y = mid / a * x + (1 - mid / a) * u0
            x = down / a * x + (1 - down / a) * r.both(y, mid)[1]
        if b > 0:
            x = x + up * r.noise()
        x = x + (x0 - u0)
    return x


def dpmpp_sde(r, x):
    for _, a, b in steps_of(r):
        x0 = r(x, a)
        if b == 0:
            x = x0
            continue
        mid = f32(math.sqrt(a * b))
        down, up = ancestral(a, mid, r.eta)
        y = down / a * x + (1 - down / a) * x0
        if r.eta > 0:
            y = y + up * r.brownian(a, mid)
        x1 = r(y, mid)
        down, up = ancestral(a, b, r.eta)
        x = down / a * x + (1 - down / a) * x1
        if r.eta > 0:
            x = x + up * r.brownian(a, b)
    return x


def dpmpp_2m(r, x):
    old = None
    for i, a, b in steps_of(r):
        x0 = r(x, a)
        if b == 0:
            x = x0
        else:
            h = math.log(a / b)
            use = x0
            if old is not None:
                ratio = math.log(r.s[i - 1] / a) / h
                use = x0 + (x0 - old) / (2 * ratio)
            x = b / a * x + (1 - math.exp(-h)) * use
        old = x0
    return x


def dpmpp_2m_cfg_pp(r, x):
    old = None
    for i, a, b in steps_of(r):
        x0, u0 = r.both(x, a)
        if b == 0:
            x = x0
        else:
            h = math.log(a / b)
            mix = -math.exp(-h) * u0
            if old is not None:
                ratio = math.log(r.s[i - 1] / a) / h
                mix = mix - math.expm1(-h) / (2 * ratio) * (x0 - old)
            x = x0 + mix + math.exp(-h) * x
        old = u0
    return x


def dpmpp_multistep_sde(r, x, order, heun_like):
    known = []
    for i, a, b in steps_of(r):
        x0 = r(x, a)
        known = [x0, *known][:3]
        if b == 0:
            x = x0
            continue
        h = math.log(a / b)
        he = h * (1 + r.eta)
        x = b / a * math.exp(-h * r.eta) * x + (1 - math.exp(-he)) * x0
        phi2 = math.expm1(-he) / he + 1
        if order == 3 and i >= 2:
            r0, r1 = math.log(r.s[i - 1] / a) / h, math.log(r.s[i - 2] / r.s[i - 1]) / h
            d10, d11 = (known[0] - known[1]) / r0, (known[1] - known[2]) / r1
            d1 = d10 + (d10 - d11) * r0 / (r0 + r1)
            d2 = (d10 - d11) / (r0 + r1)
            x = x + phi2 * d1 - (phi2 / he - 0.5) * d2
        elif i >= 1:
            slope = (known[0] - known[1]) / (math.log(r.s[i - 1] / a) / h)
            x = x + (phi2 if heun_like else 0.5 * (1 - math.exp(-he))) * slope
        if r.eta > 0:
            x = x + r.brownian(a, b) * b * math.sqrt(1 - math.exp(-2 * h * r.eta))
    return x


def dpmpp_2m_sde(r, x):
    return dpmpp_multistep_sde(r, x, 2, False)


def dpmpp_2m_sde_heun(r, x):
    return dpmpp_multistep_sde(r, x, 2, True)


def dpmpp_3m_sde(r, x):
    return dpmpp_multistep_sde(r, x, 3, True)


def ddpm(r, x):
    for _, a, b in steps_of(r):
        eps = (x - r(x, a)) / a
        abar, before = 1 / (1 + a * a), 1 / (1 + b * b)
        alpha = abar / before
        y = x * math.sqrt(abar)
        y = (y - (1 - alpha) / math.sqrt(1 - abar) * eps) / math.sqrt(alpha)
        if b > 0:
            y = y + math.sqrt((1 - alpha) * (1 - before) / (1 - abar)) * r.noise()
        x = y / math.sqrt(before)
    return x


def lcm(r, x):
    for _, a, b in steps_of(r):
        x = r(x, a)
        if b > 0:
            x = x + b * r.noise()
    return x


def ipndm(r, x):
    weights = ([1], [3 / 2, -1 / 2], [23 / 12, -16 / 12, 5 / 12], [55 / 24, -59 / 24, 37 / 24, -9 / 24])
    slopes = []
    for _, a, b in steps_of(r):
        x0 = r(x, a)
        slopes = [(x - x0) / a, *slopes][:4]
        x = x0 if b == 0 else x + (b - a) * sum(w * d for w, d in zip(weights[len(slopes) - 1], slopes))
    return x


def ipndm_v(r, x):
    slopes = []
    for i, a, b in steps_of(r):
        x0 = r(x, a)
        slopes = [(x - x0) / a, *slopes][:4]
        if b == 0:
            x = x0
            continue
        h = [b - a] + [r.s[i - k] - r.s[i - k - 1] for k in range(len(slopes) - 1)]
        # written as divided differences: what each order adds to the one below it
        f = list(slopes)
        move = f[0]
        if len(f) > 1:
            move = move + h[0] / h[1] / 2 * (f[0] - f[1])
        if len(f) > 2:
            t3 = (1 - h[0] / (3 * (h[0] + h[1])) * (h[0] * (h[0] + h[1])) / (h[1] * (h[1] + h[2]))) / 2
            move = move + t3 * ((f[0] - f[1]) - h[1] / h[2] * (f[1] - f[2]))
        if len(f) > 3:
            t4 = ((1 - h[0] / (3 * (h[0] + h[1]))) / 2 + (1 - h[0] / (2 * (h[0] + h[1]))) * h[0] / (6 * sum(h[:3])))
            t4 *= h[0] * (h[0] + h[1]) * sum(h[:3]) / (h[1] * (h[1] + h[2]) * sum(h[1:]))
            v = h[1] * (h[1] + h[2]) / (h[2] * (h[2] + h[3]))
            d1, d2, d3 = f[0] - f[1], f[1] - f[2], f[2] - f[3]
            move = move + t4 * ((d1 - h[1] / h[2] * d2) - v * (d2 - h[2] / h[3] * d3) + v * (h[2] / h[3] - h[1] / h[2]) * f[3])
        x = x + h[0] * move
    return x


def deis(r, x):
    eps_s, least, most = 1e-3, math.log(0.002 ** 2 + 1), math.log(80.0 ** 2 + 1)
    slope = 2 * (least / eps_s - most) / (eps_s - 1)
    beta0 = most - 0.5 * slope
    t = (np.sqrt(beta0 ** 2 + 2 * slope * np.log(r.s ** 2 + 1)) - beta0) / slope
    slopes = []
    for i, a, b in steps_of(r):
        slopes = [(x - r(x, a)) / a, *slopes][:3]
        if b == 0 or len(slopes) == 1:
            x = x + (b - a) * slopes[0]
            continue
        tau = np.linspace(t[i], t[i + 1], 10000)
        abar = np.exp(-0.5 * tau ** 2 * slope - tau * beta0)
        weight = 0.5 * (tau * slope + beta0) / np.sqrt(abar * (1 - abar))
        nodes = [t[i - k] for k in range(len(slopes))]
        for j, f in enumerate(slopes):
            poly = np.prod([(tau - m) / (nodes[j] - m) for k, m in enumerate(nodes) if k != j], axis=0)
            x = x + np.sum(weight * poly) * (t[i + 1] - t[i]) / 10000 * f
    return x


def res(r, x, eta, cfg_pp):
    old = old_down = None
    for i, a, b in steps_of(r):
        x0, u0 = r.both(x, a) if cfg_pp else (r(x, a), None)
        use = u0 if cfg_pp else x0
        down, up = ancestral(a, b, eta)
        if down == 0 or old is None:
            x = x0 + down * (x - use) / a
        else:
            h = math.log(a / down)
            c2 = math.log(old_down / r.s[i - 1]) / h
            phi1 = math.expm1(-h) / -h
            phi2 = (phi1 - 1) / -h
            if cfg_pp:
                x = x + (x0 - u0)
            x = math.exp(-h) * x + h * ((phi1 - phi2 / c2) * use + phi2 / c2 * old)
        if b > 0 and eta > 0:
            x = x + up * r.noise()
        old, old_down = use, down
    return x


def gradient_estimation(r, x, cfg_pp=False):
    old = None
    for _, a, b in steps_of(r):
        x0, u0 = r.both(x, a) if cfg_pp else (r(x, a), None)
        d = (x - (u0 if cfg_pp else x0)) / a
        if b == 0:
            x = x0
        else:
            x = x0 + d * b if cfg_pp else x + d * (b - a)
            if old is not None:
                x = x + (d - old) * (b - a)
        old = d
    return x


def er_sde(r, x):
    scale = lambda v: v * (np.exp(v ** 0.3) + 10.0)
    old = old_d = None
    for i, a, b in steps_of(r):
        x0 = r(x, a)
        if b == 0:
            x = x0
            continue
        ratio, dt = scale(b) / scale(a), b - a
        x = ratio * x + (1 - ratio) * x0
        if i >= 1:
            step = -dt / 200
            pos = b + step * np.arange(200)
            d = (x0 - old) / (a - r.s[i - 1])
            x = x + (dt + np.sum(1 / scale(pos)) * step * scale(b)) * d
            if i >= 2:
                u = (d - old_d) / ((a - r.s[i - 2]) / 2)
                x = x + (dt ** 2 / 2 + np.sum((pos - a) / scale(pos)) * step * scale(b)) * u
            old_d = d
        x = x + math.sqrt(max(0, b * b - a * a * ratio * ratio)) * r.noise()
        old = x0
    return x


def seeds(r, x, parts):
    """SEEDS-2 with parts (1/2,), SEEDS-3 with (1/3, 2/3)."""
    phi2 = lambda v: (math.expm1(v) - v) / v
    for _, a, b in steps_of(r):
        x0 = [r(x, a)]
        if b == 0:
            x = x0[0]
            continue
        h = math.log(a / b)
        he = h * (1 + r.eta)
        walk, here = 0.0, 0.0
        for part in (*parts, 1.0):
            to = b if part == 1 else f32(math.exp((1 - part) * math.log(a) + part * math.log(b)))
            if len(x0) == 1 or (len(parts) == 1):
                drift = -math.expm1(-part * he) * x0[-1]
            else:
                first = parts[0] if len(x0) == 2 else parts[1]
                second = part / first * phi2(-part * he)
                drift = -((math.expm1(-part * he) - second) * x0[0] + second * x0[-1])
            y = to / a * math.exp(-part * h * r.eta) * x + drift
            if r.eta > 0:
                walk = walk * math.exp(-(part - here) * h * r.eta)
                walk = walk + math.sqrt(1 - math.exp(-2 * (part - here) * h * r.eta)) * r.noise()
                y = y + to * walk
            here = part
            if part < 1:
                x0.append(r(y, to))
        x = y
    return x


def sa(r, x, pece):
    """The integrals by Gauss-Legendre instead of a recursion."""
    high, low = f32(r.d.sigma(f32(0.8 * 999.0))), f32(r.d.sigma(f32((1 - 0.8) * 999.0)))
    tau_of = lambda sigma: 1.0 if low <= sigma <= high else 0.0
    n, s = len(r.s) - 1, r.s
    lam = [-math.log(v) if v > 0 else math.inf for v in s]
    gauss, weight = np.polynomial.legendre.leggauss(40)

    def mixed(outputs, nodes, i, j, tau):
        m = 1 + tau * tau
        at = lam[i] + (lam[j] - lam[i]) * (gauss + 1) / 2
        w = weight * (lam[j] - lam[i]) / 2 * m * np.exp(m * (at - lam[j]))
        total = 0
        for k, out in enumerate(outputs):
            basis = np.prod([(at - nodes[q]) / (nodes[k] - nodes[q]) for q in range(len(nodes)) if q != k] or [np.ones(40)], axis=0)
            total = total + np.sum(w * basis) * out
        return total

    known, pred, tau, noise = [], x, 0.0, 0.0
    for i in range(n):
        x0 = r(pred, s[i])
        known = [*known, x0][-4:]
        corrector = 0 if i == 0 or (s[i + 1] == 0 and not pece) else len(known)
        predictor = min(3, len(known))
        if s[-1] == 0:
            predictor, corrector = min(predictor, n - 1 - i), min(corrector, n - i)
        if corrector == 0:
            x = pred
        else:
            h = lam[i] - lam[i - 1]
            x = s[i] / s[i - 1] * math.exp(-tau ** 2 * h) * x + mixed(known[-corrector:], lam[i + 1 - corrector:i + 1], i - 1, i, tau)
            x = x + (noise if tau > 0 else 0)
            if pece:
                x0 = r(x, s[i])
                known[-1] = x0
        if s[i + 1] == 0:
            pred = x0
        else:
            tau = tau_of(s[i + 1])
            h = lam[i + 1] - lam[i]
            pred = s[i + 1] / s[i] * math.exp(-tau ** 2 * h) * x + mixed(known[-predictor:], lam[i + 1 - predictor:i + 1], i, i + 1, tau)
            if tau > 0:
                noise = s[i + 1] * math.sqrt(1 - math.exp(-2 * tau ** 2 * h)) * r.noise()
                pred = pred + noise
    return pred


def uni_pc(r, x, variant="bh1"):
    """With data prediction, on x / sqrt(1 + sigma^2); B(h) = h or exp(h) - 1."""
    s, n = r.s.copy(), len(r.s) - 1
    if s[-1] == 0:
        s[-1] = np.float32(0.001)
    alpha = lambda v: 1 / math.sqrt(1 + v * v)
    lam = lambda v: -math.log(v)
    model_at = lambda y, v: r(y / alpha(v), v)
    x = x * alpha(s[0])
    order_max = max(1, min(3, n - 1))
    known = [(s[0], model_at(x, s[0]))]
    for k in range(1, n + 1):
        order = min(order_max, k, n + 1 - k)
        here, m0 = known[-1]
        h = lam(s[k]) - lam(here)
        bh = -h if variant == "bh1" else math.expm1(-h)
        base = s[k] * alpha(s[k]) / (here * alpha(here)) * x - alpha(s[k]) * math.expm1(-h) * m0
        ratio = [(lam(known[-1 - i][0]) - lam(here)) / h for i in range(1, order)]
        diffs = [(known[-1 - i][1] - m0) / ratio[i - 1] for i in range(1, order)]
        phi, fact, b = math.expm1(-h) / -h - 1, 1, []
        for i in range(1, order + 1):
            b.append(phi * fact / bh)
            fact *= i + 1
            phi = phi / -h - 1 / fact
        b = np.array(b)
        R = np.array([[v ** i for v in (*ratio, 1.0)] for i in range(order)])
        rho = [0.5] if order == 2 else (np.linalg.solve(R[:-1, :-1], b[:-1]) if order > 1 else [])
        x = base - alpha(s[k]) * bh * sum(p * dd for p, dd in zip(rho, diffs))
        if k < n:
            m = model_at(x, s[k])
            rho = [0.5] if order == 1 else np.linalg.solve(R, b)
            x = base - alpha(s[k]) * bh * sum(p * dd for p, dd in zip(rho, (*diffs, m - m0)))
            known.append((s[k], m))
    return x / alpha(s[-1])


SAMPLERS = {
    "ddim": euler, "euler": euler, "euler_cfg_pp": euler_cfg_pp, "euler_ancestral": euler_ancestral,
    "euler_ancestral_cfg_pp": euler_ancestral_cfg_pp, "heun": heun, "heunpp2": heunpp2, "dpm_2": dpm_2,
    "dpm_2_ancestral": dpm_2_ancestral, "lms": lms, "dpm_fast": dpm_fast, "dpm_adaptive": dpm_adaptive,
    "dpmpp_2s_ancestral": dpmpp_2s_ancestral, "dpmpp_2s_ancestral_cfg_pp": dpmpp_2s_ancestral_cfg_pp, "dpmpp_sde": dpmpp_sde,
    "dpmpp_2m": dpmpp_2m, "dpmpp_2m_cfg_pp": dpmpp_2m_cfg_pp, "dpmpp_2m_sde": dpmpp_2m_sde,
    "dpmpp_2m_sde_heun": dpmpp_2m_sde_heun, "dpmpp_3m_sde": dpmpp_3m_sde, "ddpm": ddpm, "lcm": lcm, "ipndm": ipndm,
    "ipndm_v": ipndm_v, "deis": deis,
    "res_multistep": lambda r, x: res(r, x, 0.0, False), "res_multistep_cfg_pp": lambda r, x: res(r, x, 0.0, True),
    "res_multistep_ancestral": lambda r, x: res(r, x, r.eta, False),
    "res_multistep_ancestral_cfg_pp": lambda r, x: res(r, x, r.eta, True),
    "gradient_estimation": gradient_estimation, "gradient_estimation_cfg_pp": lambda r, x: gradient_estimation(r, x, True),
    "er_sde": er_sde, "seeds_2": lambda r, x: seeds(r, x, (0.5,)), "seeds_3": lambda r, x: seeds(r, x, (1 / 3, 2 / 3)),
    "sa_solver": lambda r, x: sa(r, x, False), "sa_solver_pece": lambda r, x: sa(r, x, True),
    "uni_pc": uni_pc, "uni_pc_bh2": lambda r, x: uni_pc(r, x, "bh2"),
}
for name in ("dpmpp_sde", "dpmpp_2m_sde", "dpmpp_2m_sde_heun", "dpmpp_3m_sde"):
    SAMPLERS[name + "_gpu"] = SAMPLERS[name]
