/* The stream of initspec, filled into memory: docs/spec.md in C. It knows nothing of Python.
 *
 * Up to the last two roundings everything is integer arithmetic, so the bits do not depend on the
 * machine. The work goes tile by tile over small arrays on the stack, one simple loop per step,
 * which is what compilers vectorise: words (Philox), steps in fixed point, conversion and store.
 *
 * Reading order: arithmetic, coordinates, tiles, loops. `fill_box` is the entry.
 */
#ifndef INITSPEC_FILL_H
#define INITSPEC_FILL_H

#include <float.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* x87 would round twice. Such a build fails, and the reference in NumPy takes over. */
_Static_assert(FLT_EVAL_METHOD == 0, "float expressions must be evaluated as float");

/* Everything below `fill_box` is inlined into it, so that a second instance of it, compiled for
 * another instruction set, is the whole of the work and not a call into portable code. */
#if defined(_MSC_VER)
#define INLINE static __forceinline
#else
#define INLINE static inline __attribute__((always_inline))
#endif

enum { STACK, OUT, IN, COORDINATES };             /* s, o, j */
enum { FLOAT32, FLOAT64, BFLOAT16, FLOAT16 };     /* dtype */
enum { UNIFORM, NORMAL, TRUNCATED_NORMAL };       /* kind */
enum { MAX_AXES = 64 };
enum { LANES = 4 };                               /* words per Philox block */
enum { TILE = 128 };                              /* blocks in flight: 2 KiB of words */
enum { STRETCH = 32 * TILE };                     /* along rows: four rows of it stay in cache */
enum { ENOUGH = 8 };                              /* items that keep a vector register busy */
enum { TABLE_BYTES = 32 * 128 * 8 };
enum { KEEP_GIL_BELOW = 4096 };                   /* values: less work than a switch of threads */

typedef struct {
    int64_t size;
    ptrdiff_t stride;
} Axis;

/* One of s, o, j: a mixed-radix number whose digits are axes, outermost first. */
typedef struct {
    int64_t extent, begin, end;
    int count;
    Axis axes[MAX_AXES];
} Coordinate;

typedef struct {
    uint32_t key0, key1, purpose;
    uint32_t lo, width, multiplier;
    int32_t offset;
    int dtype, kind;
    double factor;
    const unsigned char *table;
    char *data;
    Coordinate at[COORDINATES];
} Job;

/* ---- arithmetic -------------------------------------------------------------------------- */

INLINE uint32_t mulhi(uint32_t a, uint32_t b) { return (uint32_t)(((uint64_t)a * b) >> 32); }

/* The table is little-endian everywhere; compilers know this as one load. */
INLINE uint32_t load32(const unsigned char *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

INLINE uint32_t float_bits(int32_t z, float factor)
{
    const float value = (float)z * factor;
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* The next two round to nearest even in integers: no hardware type, no rounding mode. There is no
 * NaN to look after, because the factor is finite. */
INLINE uint16_t bfloat16_bits(uint32_t bits)
{
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

INLINE uint16_t float16_bits(uint32_t bits)
{
    const uint32_t sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;
    if (size >= 0x47800000) /* 2**16 and up; what rounds up to it carries over below */
        return (uint16_t)(sign | 0x7c00);
    if (size >= 0x38800000) { /* 2**-14 and up: normal, only the bias of the exponent changes */
        const uint32_t moved = size - (112u << 23);
        return (uint16_t)(sign | (moved + 0xfff + (moved >> 13 & 1)) >> 13);
    }
    if (size < 0x33000000) /* below 2**-25, half of the least subnormal */
        return (uint16_t)sign;
    const uint32_t shift = 126 - (size >> 23), whole = (size & 0x7fffff) | 0x800000;
    const uint32_t half = 1u << (shift - 1);
    return (uint16_t)(sign | (whole + half - 1 + (whole >> shift & 1)) >> shift);
}

/* ---- coordinates ------------------------------------------------------------------------- */

/* The offset of an index, and how many indices from there on follow at the innermost stride. */
INLINE ptrdiff_t locate(const Coordinate *c, int64_t index, int64_t *run)
{
    ptrdiff_t offset = 0;
    int k = c->count - 1;
    *run = c->axes[k].size - index;
    for (; k > 0; k--) {
        const int64_t rest = index / c->axes[k].size, digit = index - rest * c->axes[k].size;
        if (k == c->count - 1)
            *run = c->axes[k].size - digit;
        offset += digit * c->axes[k].stride;
        index = rest;
    }
    return offset + index * c->axes[0].stride;
}

/* ---- tiles ------------------------------------------------------------------------------- */

/* Words of `count` blocks from coordinates `at` on (j counted in blocks), along one of them. */
INLINE void tile_words(const Job *job, const int64_t at[COORDINATES], int along, int count,
                       uint32_t words[LANES][TILE])
{
    const uint32_t s = (uint32_t)at[STACK], o = (uint32_t)at[OUT], j = (uint32_t)at[IN];
    const uint32_t step_s = along == STACK, step_o = along == OUT, step_j = along == IN;
    for (uint32_t i = 0; i < (uint32_t)count; i++) {
        uint32_t x0 = j + i * step_j, x1 = o + i * step_o, x2 = s + i * step_s, x3 = job->purpose;
        uint32_t k0 = job->key0, k1 = job->key1;
        for (int round = 0; round < 10; round++) {
            const uint64_t p0 = (uint64_t)0xD2511F53u * x0, p1 = (uint64_t)0xCD9E8D57u * x2;
            x0 = (uint32_t)(p1 >> 32) ^ x1 ^ k0;
            x2 = (uint32_t)(p0 >> 32) ^ x3 ^ k1;
            x1 = (uint32_t)p1;
            x3 = (uint32_t)p0;
            k0 += 0x9E3779B9u;
            k1 += 0xBB67AE85u;
        }
        words[0][i] = x0;
        words[1][i] = x1;
        words[2][i] = x2;
        words[3][i] = x3;
    }
}

/* Normal quantiles of words in units of 2**-28, in place; the sign is the sign of the word.
 *
 * w = ~((u ^ sign) << 1) is odd, and w / 2**33 is the upper tail probability. As a double, w / 2 is
 * exact, and its bits hold all we look for: the exponent is the octave, the next seven bits count
 * rows in it, what follows is t. Every compiler can vectorise that, unlike a count of zeros. Three
 * loops, because only the middle one, the look-up, has to go value by value. */
INLINE void tile_normal(const unsigned char *table, uint32_t *words, int count)
{
    double half[TILE];
    uint32_t t[TILE], c0[TILE], packed[TILE];
    for (int i = 0; i < count; i++)
        half[i] = 0.5 + (int32_t)(words[i] ^ (0u - (words[i] >> 31)) ^ 0x7fffffff);
    for (int i = 0; i < count; i++) {
        uint64_t bits;
        memcpy(&bits, &half[i], sizeof bits);
        const unsigned char *row = table + 8 * ((bits >> 45) - (1022 << 7));
        t[i] = (uint32_t)(bits >> 13);
        c0[i] = load32(row);
        packed[i] = load32(row + 4);
    }
    for (int i = 0; i < count; i++) {
        const uint32_t sign = 0u - (words[i] >> 31);
        const uint32_t c1 = packed[i] >> 12 << 1, c2 = packed[i] & 0xfff;
        const uint32_t z = c0[i] - mulhi(t[i], c1 - mulhi(t[i], c2));
        words[i] = (z ^ sign) - sign;
    }
}

/* From words to signed fixed point, in place; `count` is at most TILE. */
INLINE void tile_steps(const Job *job, uint32_t *words, int count)
{
    if (job->kind == UNIFORM)
        for (int i = 0; i < count; i++)
            words[i] |= 1;
    if (job->kind == TRUNCATED_NORMAL)
        for (int i = 0; i < count; i++)
            words[i] = (job->lo + mulhi(words[i], job->width)) ^ 0x80000000u;
    if (job->kind != UNIFORM)
        tile_normal(job->table, words, count);
    if (job->multiplier != 0)
        for (int i = 0; i < count; i++) {
            const uint32_t sign = 0u - (words[i] >> 31), size = (words[i] ^ sign) - sign;
            words[i] = (uint32_t)job->offset + ((mulhi(size, job->multiplier) ^ sign) - sign);
        }
}

/* One loop per dtype. `memcpy`, because a caller's buffer need not be aligned. */
#define DEFINE_STORE(NAME, TYPE, VALUE)                                                          \
    INLINE void store_##NAME(char *to, ptrdiff_t stride, const uint32_t *z, int count,           \
                             double factor)                                                      \
    {                                                                                            \
        const float factor32 = (float)factor;                                                    \
        (void)factor32;                                                                          \
        for (int i = 0; i < count; i++) {                                                        \
            const TYPE value = VALUE;                                                            \
            memcpy(to + i * stride, &value, sizeof value);                                       \
        }                                                                                        \
    }
DEFINE_STORE(float32, uint32_t, float_bits((int32_t)z[i], factor32))
DEFINE_STORE(float64, double, (double)(int32_t)z[i] * factor)
DEFINE_STORE(bfloat16, uint16_t, bfloat16_bits(float_bits((int32_t)z[i], factor32)))
DEFINE_STORE(float16, uint16_t, float16_bits(float_bits((int32_t)z[i], factor32)))

/* A stride that the compiler knows makes a vector store. */
#define STORE(NAME, BYTES)                                                                       \
    if (stride == (BYTES))                                                                       \
        store_##NAME(to, (BYTES), z, count, job->factor);                                        \
    else                                                                                         \
        store_##NAME(to, stride, z, count, job->factor);

INLINE void store_run(const Job *job, char *to, ptrdiff_t stride, const uint32_t *z, int count)
{
    if (job->dtype == FLOAT32) {
        STORE(float32, 4)
    } else if (job->dtype == FLOAT64) {
        STORE(float64, 8)
    } else if (job->dtype == BFLOAT16) {
        STORE(bfloat16, 2)
    } else {
        STORE(float16, 2)
    }
}

/* Store `count` values along a coordinate from `index` on, run by run. */
INLINE void store_along(const Job *job, int along, int64_t index, char *base, const uint32_t *z,
                        int count)
{
    const Coordinate *c = &job->at[along];
    while (count > 0) {
        int64_t run;
        char *to = base + locate(c, index, &run);
        const int n = run < count ? (int)run : count;
        store_run(job, to, c->axes[c->count - 1].stride, z, n);
        index += n;
        z += n;
        count -= n;
    }
}

/* ---- loops ------------------------------------------------------------------------------- */

INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* j is the fast one in memory: tiles run over blocks, four lanes are neighbours. */
INLINE void fill_along_in(const Job *job, char *base, int64_t at[COORDINATES])
{
    uint32_t words[LANES][TILE], row[LANES * TILE];
    const Coordinate *in = &job->at[IN];
    for (int64_t j = in->begin; j < in->end; j += LANES * TILE) {
        const int values = (int)least(in->end - j, LANES * TILE);
        const int blocks = (values + LANES - 1) / LANES;
        at[IN] = j / LANES;
        tile_words(job, at, IN, blocks, words);
        for (int lane = 0; lane < LANES; lane++)
            tile_steps(job, words[lane], blocks);
        for (int i = 0; i < blocks; i++)
            for (int lane = 0; lane < LANES; lane++)
                row[LANES * i + lane] = words[lane][i];
        store_along(job, IN, j, base, row, values);
    }
}

/* o (or s) is the fast one: tiles run over it, four lanes are four rows of memory. */
INLINE void fill_along_rows(const Job *job, char *base, int64_t at[COORDINATES], int along,
                            int64_t begin, int64_t end)
{
    uint32_t words[LANES][TILE];
    const Coordinate *in = &job->at[IN];
    for (int64_t j = in->begin; j < in->end; j += LANES) {
        const int lanes = (int)least(in->end - j, LANES);
        char *rows[LANES] = {base, base, base, base};
        int64_t run;
        for (int lane = 0; lane < lanes; lane++)
            rows[lane] += locate(in, j + lane, &run);
        at[IN] = j / LANES;
        for (at[along] = begin; at[along] < end; at[along] += TILE) {
            const int count = (int)least(end - at[along], TILE);
            tile_words(job, at, along, count, words);
            for (int lane = 0; lane < lanes; lane++) {
                tile_steps(job, words[lane], count);
                store_along(job, along, at[along], rows[lane], words[lane], count);
            }
        }
    }
}

INLINE int64_t items(const Job *job, int which)
{
    const int64_t span = job->at[which].end - job->at[which].begin;
    return which == IN ? (span + LANES - 1) / LANES : span;
}

/* The coordinate that tiles run along: the one with the smallest stride that is long enough. */
INLINE int choose_along(const Job *job)
{
    int best = -1, longest = IN;
    ptrdiff_t best_stride = 0;
    for (int which = IN; which >= STACK; which--) {
        const Coordinate *c = &job->at[which];
        ptrdiff_t stride = PTRDIFF_MAX;
        for (int k = 0; k < c->count; k++)
            stride = least(stride, c->axes[k].stride < 0 ? -c->axes[k].stride : c->axes[k].stride);
        if (items(job, which) > items(job, longest))
            longest = which;
        if (items(job, which) >= ENOUGH && (best < 0 || stride < best_stride)) {
            best = which;
            best_stride = stride;
        }
    }
    return best < 0 ? longest : best;
}

INLINE void fill_box(const Job *job)
{
    const int along = choose_along(job), across = along == OUT ? STACK : OUT;
    const Coordinate *fast = &job->at[along], *slow = &job->at[across];
    int64_t at[COORDINATES], run;
    if (along == IN) {
        for (at[STACK] = job->at[STACK].begin; at[STACK] < job->at[STACK].end; at[STACK]++)
            for (at[OUT] = slow->begin; at[OUT] < slow->end; at[OUT]++)
                fill_along_in(job,
                              job->data + locate(&job->at[STACK], at[STACK], &run) +
                                  locate(slow, at[OUT], &run),
                              at);
        return;
    }
    for (at[across] = slow->begin; at[across] < slow->end; at[across]++)
        for (int64_t begin = fast->begin; begin < fast->end; begin += STRETCH)
            fill_along_rows(job, job->data + locate(slow, at[across], &run), at, along, begin,
                            least(fast->end, begin + STRETCH));
}

#endif
