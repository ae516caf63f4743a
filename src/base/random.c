#include "base/random.h"

#include <math.h>

void philox(uint64_t key, uint64_t counter_low, uint64_t counter_high, uint32_t out[4])
{
    uint32_t c[4] = { (uint32_t)counter_low, (uint32_t)(counter_low >> 32), (uint32_t)counter_high,
                      (uint32_t)(counter_high >> 32) };
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xD2511F53 * c[0], b = (uint64_t)0xCD9E8D57 * c[2];
        uint32_t next[4] = { (uint32_t)(b >> 32) ^ c[1] ^ k0, (uint32_t)b, (uint32_t)(a >> 32) ^ c[3] ^ k1,
                             (uint32_t)a };
        for (int i = 0; i < 4; i++)
            c[i] = next[i];
        k0 += 0x9E3779B9;
        k1 += 0xBB67AE85;
    }
    for (int i = 0; i < 4; i++)
        out[i] = c[i];
}

struct random random_of(uint64_t key, uint64_t stream)
{
    return (struct random){ key, stream, 0 };
}

uint32_t random_u32(struct random *r)
{
    uint32_t words[4];
    philox(r->key, r->at / 4, r->stream, words);
    return words[r->at++ % 4];
}

float random_uniform(struct random *r)
{
    return (float)(random_u32(r) >> 8) * 0x1p-24f;
}

uint64_t random_below(struct random *r, uint64_t n)
{
    uint64_t wide = (uint64_t)random_u32(r) << 32;
    wide |= random_u32(r);
    return (uint64_t)((unsigned __int128)wide * n >> 64);
}

float random_normal(struct random *r)
{
    double u = ((double)random_u32(r) + 1) * 0x1p-32, v = (double)random_u32(r) * 0x1p-32;
    return (float)(sqrt(-2 * log(u)) * cos(6.283185307179586 * v));
}

void random_normals(struct random *r, float *out, size_t count)
{
    for (size_t i = 0; i < count; i++)
        out[i] = random_normal(r);
}

void torch_random_seed(struct torch_random *r, uint64_t seed)
{
    r->state[0] = (uint32_t)seed;
    for (uint32_t i = 1; i < 624; i++)
        r->state[i] = 1812433253u * (r->state[i - 1] ^ r->state[i - 1] >> 30) + i;
    r->next = 624;
    r->has_spare = 0;
    r->cuda = 0;
}

void torch_random_seed_cuda(struct torch_random *r, uint64_t seed)
{
    r->cuda = 1;
    r->key = seed;
    r->offset = 0;
}

uint32_t torch_random_u32(struct torch_random *r)
{
    if (r->next == 624) {
        for (int i = 0; i < 624; i++) {
            uint32_t y = (r->state[i] & 0x80000000) | (r->state[(i + 1) % 624] & 0x7FFFFFFF);
            r->state[i] = r->state[(i + 397) % 624] ^ y >> 1 ^ (y & 1 ? 0x9908B0DF : 0);
        }
        r->next = 0;
    }
    uint32_t y = r->state[r->next++];
    y ^= y >> 11;
    y ^= y << 7 & 0x9D2C5680;
    y ^= y << 15 & 0xEFC60000;
    return y ^ y >> 18;
}

uint64_t torch_random_u64(struct torch_random *r)
{
    uint64_t high = torch_random_u32(r);
    return high << 32 | torch_random_u32(r);
}

void torch_random_uniform(struct torch_random *r, float *out, size_t count)
{
    for (size_t i = 0; i < count; i++)
        out[i] = (float)(torch_random_u32(r) & 0xFFFFFF) * 0x1p-24f;
}

/* The uniforms in block[0..15] become normals: PyTorch's normal_fill_16. */
static void normal_block(float *block)
{
    for (int j = 0; j < 8; j++) {
        float radius = sqrtf(-2 * logf(1 - block[j])), angle = 6.283185307179586f * block[j + 8];
        block[j] = radius * cosf(angle);
        block[j + 8] = radius * sinf(angle);
    }
}

/* cuRAND's normals of two words: the sine comes first. */
static void cuda_pair(uint32_t x, uint32_t y, float out[2])
{
    const float part = 0x1p-32f, turn = 0x1p-32f * 6.2831855f;
    float u = (float)x * part + part / 2, angle = (float)y * turn + turn / 2, radius = sqrtf(-2 * logf(u));
    out[0] = radius * sinf(angle);
    out[1] = radius * cosf(angle);
}

static size_t cuda_threads(size_t count)
{
    size_t threads = (count + 255) / 256 * 256;
    return threads < TORCH_CUDA_THREADS ? threads : TORCH_CUDA_THREADS;
}

static void cuda_normal(struct torch_random *r, float *out, size_t count)
{
    size_t threads = cuda_threads(count);
    for (size_t first = 0; first < count; first += 4 * threads, r->offset++)
        for (size_t thread = 0; thread < threads && first + thread < count; thread++) {
            uint32_t words[4];
            float normals[4];
            philox(r->key, r->offset, thread, words);
            cuda_pair(words[0], words[1], normals);
            cuda_pair(words[2], words[3], normals + 2);
            for (size_t i = 0; i < 4 && first + thread + i * threads < count; i++)
                out[first + thread + i * threads] = normals[i];
        }
}

void torch_random_skip_normals(struct torch_random *r, size_t count)
{
    if (count)
        r->offset += (count - 1) / (4 * cuda_threads(count)) + 1;
}

void torch_random_normal(struct torch_random *r, float *out, size_t count)
{
    if (r->cuda) {
        cuda_normal(r, out, count);
        return;
    }
    if (count < 16) {
        for (size_t i = 0; i < count; i++) {
            if (r->has_spare) {
                out[i] = (float)r->spare_normal;
                r->has_spare = 0;
                continue;
            }
            double u1 = (double)(torch_random_u64(r) & ((1ull << 53) - 1)) * 0x1p-53;
            double u2 = (double)(torch_random_u64(r) & ((1ull << 53) - 1)) * 0x1p-53;
            double radius = sqrt(-2 * log1p(-u2)), angle = 6.283185307179586 * u1;
            r->spare_normal = radius * sin(angle);
            r->has_spare = 1;
            out[i] = (float)(radius * cos(angle));
        }
        return;
    }
    torch_random_uniform(r, out, count);
    for (size_t i = 0; i + 16 <= count; i += 16)
        normal_block(out + i);
    if (count % 16) {
        torch_random_uniform(r, out + count - 16, 16);
        normal_block(out + count - 16);
    }
}
