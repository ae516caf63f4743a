/* Random numbers. Two generators:
 *  - torch: PyTorch's CPU generator (mt19937 and its normal transform), so that a seed here gives the noise it gives
 *    in diffusers and ComfyUI; or its CUDA generator, for the noise of programs that draw it on the GPU. For pictures.
 *  - philox: counter based (Salmon et al. 2011, Philox4x32-10): the i-th number of a stream is a function of (key, i),
 *    so that a training step needs no saved generator. For training. */
#ifndef LIMN_BASE_RANDOM_H
#define LIMN_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* torch.Generator("cpu").manual_seed(seed): the low 32 bits seed mt19937. */
struct torch_random {
    int cuda;                 /* whether it is the generator below, in place of mt19937 */
    uint64_t key, offset;     /* CUDA: the seed, and how many blocks of four words each thread has drawn */
    uint32_t state[624];
    int next;            /* index of the next word; 624: make new ones */
    double spare_normal; /* randn of fewer than 16 values draws in pairs and keeps the second */
    int has_spare;
};
void torch_random_seed(struct torch_random *r, uint64_t seed);
/* torch.Generator("cuda").manual_seed(seed). Of the functions below only torch_random_normal is defined for it. */
void torch_random_seed_cuda(struct torch_random *r, uint64_t seed);
uint32_t torch_random_u32(struct torch_random *r);
uint64_t torch_random_u64(struct torch_random *r); /* as torch's random64: first word is the high half */
/* torch.randn(count, generator=r) in f32: for count >= 16 in blocks of 16 (Box-Muller in f32, the last block redrawn if
 * count is no multiple of 16), for fewer in double precision pairs. Agrees with PyTorch within 2e-6.
 * CUDA: Philox4x32-10 with the seed as its key and a counter of (blocks drawn, thread), cuRAND's Box-Muller transform in f32
 * and PyTorch's layout: thread k of `threads` gives elements k, k + threads, k + 2 threads, k + 3 threads from one block of
 * four words, then the next four. `threads` is the count rounded up to whole blocks of 256, at most TORCH_CUDA_THREADS: up to
 * so many numbers every GPU gives the same, above that a GPU of another size gives others. */
#define TORCH_CUDA_THREADS (108 * 2048) /* of an A100: 108 multiprocessors of 2048 threads */
void torch_random_normal(struct torch_random *r, float *out, size_t count);
/* Goes on as if so many normals had been drawn at once; CUDA only. */
void torch_random_skip_normals(struct torch_random *r, size_t count);
/* torch.rand(count): 24 random bits / 2^24, in [0, 1). */
void torch_random_uniform(struct torch_random *r, float *out, size_t count);

/* Four 32-bit words for (key, counter). */
void philox(uint64_t key, uint64_t counter_low, uint64_t counter_high, uint32_t out[4]);

/* A stream of numbers: (key, stream) names it, `at` is the position. Copying the struct copies the stream. */
struct random {
    uint64_t key, stream, at;
};
struct random random_of(uint64_t key, uint64_t stream);
uint32_t random_u32(struct random *r);
/* In [0, 1), 24 bits. */
float random_uniform(struct random *r);
/* A whole number in [0, n), n > 0. */
uint64_t random_below(struct random *r, uint64_t n);
/* Standard normal, by Box-Muller. */
float random_normal(struct random *r);
void random_normals(struct random *r, float *out, size_t count);

#endif
