/* The stream of initspec, filled into memory: docs/spec.md in C. It knows nothing of Python.
 *
 * Up to the last two roundings everything is integer arithmetic, so the bits do not depend on the
 * machine. The work goes tile by tile over small arrays on the stack: words (Philox), steps in
 * fixed point, conversion and store. The first two are written in the operations of `vector.h`; the
 * rest are loops that compilers vectorise.
 *
 * Included once for each instruction set, with FILL as the name of the function to define, which is
 * the entry, at the end. Reading order: arithmetic, coordinates, tiles, loops.
 */
#include <float.h>

#include "job.h"
#include "vector.h"

/* x87 would round twice. Such a build fails, and the reference in NumPy takes over. */
_Static_assert(FLT_EVAL_METHOD == 0, "float expressions must be evaluated as float");

enum { ROUNDS = 10 };                         /* of Philox */
enum { GROUPS = WIDTH == 8 ? 4 : 3 };         /* registers in flight: hide latency, do not spill */
enum { WHOLE = 2 * GROUPS * WIDTH };          /* tiles are made in multiples of so many blocks */
enum { TILE = 128 / WHOLE * WHOLE };          /* at most: 2 KiB of words */
enum { CHUNK = 16 };                          /* coordinates that are written at once */
enum { STRETCH = 32 * TILE };                 /* along rows: four rows of it stay in cache */
enum { AHEAD = 2048, LINE = 64 };             /* bytes: memory is asked for so early, by the line */

static const unsigned char SIZES[] = {4, 8, 2, 2, 4}; /* bytes, by dtype */

/* ---- arithmetic -------------------------------------------------------------------------- */

INLINE uint32_t mulhi(uint32_t a, uint32_t b) { return (uint32_t)(((uint64_t)a * b) >> 32); }

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

/* Coordinates of the blocks of a tile; j counts blocks. */
typedef struct {
    uint32_t at[COORDINATES][TILE + CHUNK];
    int run; /* they differ in the fast coordinate alone */
} Blocks;

/* The two keys of every round, in all lanes. */
typedef struct {
    V at[ROUNDS][2];
} Keys;

INLINE void schedule(const Job *job, Keys *keys)
{
    for (uint32_t round = 0; round < ROUNDS; round++) {
        keys->at[round][0] = every(job->key0 + round * 0x9E3779B9u);
        keys->at[round][1] = every(job->key1 + round * 0xBB67AE85u);
    }
}

INLINE void philox_round(const V keys[2], V x[LANES][GROUPS])
{
    const V m0 = every(0xD2511F53u), m1 = every(0xCD9E8D57u);
    for (int g = 0; g < GROUPS; g++) {
        const V p0 = MULTIPLY(m0, x[0][g]), p1 = MULTIPLY(m1, x[2][g]);
        x[0][g] = p1 >> 32 ^ x[1][g] ^ keys[0];
        x[1][g] = p1;
        x[2][g] = p0 >> 32 ^ x[3][g] ^ keys[1];
        x[3][g] = p0;
    }
}

/* The four words of a block side by side. */
INLINE void store_neighbouring(uint32_t *to, V x[LANES][GROUPS])
{
    for (int g = 0; g < GROUPS; g++) {
        const V first = pair(x[0][g], x[1][g]), second = pair(x[2][g], x[3][g]);
        store(to + LANES * g * WIDTH, zip_first(first, second));
        store(to + LANES * g * WIDTH + 2 * WIDTH, zip_last(first, second));
    }
}

/* Each lane in a row of TILE words of its own. */
INLINE void store_apart(uint32_t *to, V x[LANES][GROUPS])
{
    for (int lane = 0; lane < LANES; lane++) {
        for (int g = 0; g + 1 < GROUPS; g += 2)
            store(to + lane * TILE + g * WIDTH, lower_halves(x[lane][g], x[lane][g + 1]));
        if (GROUPS % 2)
            store_lower(to + lane * TILE + (GROUPS - 1) * WIDTH, x[lane][GROUPS - 1]);
    }
}

/* Philox4x32-10 of `count` blocks. Along a run, `fast` alone changes: what depends on the other
 * coordinates alone, a good part of the first two rounds, is then worked out once for all. */
INLINE void words_of(const Job *job, const Keys *keys, const Blocks *blocks, int count, int fast,
                     int run, uint32_t *words)
{
    static const int order[] = {IN, OUT, STACK};
    for (int i = 0; i < count; i += GROUPS * WIDTH) {
        V x[LANES][GROUPS];
        for (int g = 0; g < GROUPS; g++) {
            for (int k = 0; k < COORDINATES; k++)
                x[k][g] = run && order[k] != fast ? every(blocks->at[order[k]][0])
                                                  : spread(blocks->at[order[k]] + i + g * WIDTH);
            x[3][g] = every(job->purpose);
        }
        philox_round(keys->at[0], x);
        philox_round(keys->at[1], x);
        for (int round = 2; round < ROUNDS; round++)
            philox_round(keys->at[round], x);
        if (fast == IN)
            store_neighbouring(words + LANES * i, x);
        else
            store_apart(words + i, x);
    }
}

INLINE void tile_words(const Job *job, const Keys *keys, const Blocks *blocks, int count, int fast,
                       uint32_t *words)
{
    if (fast == IN && blocks->run)
        words_of(job, keys, blocks, count, IN, 1, words);
    else if (fast == IN)
        words_of(job, keys, blocks, count, IN, 0, words);
    else if (fast == OUT && blocks->run)
        words_of(job, keys, blocks, count, OUT, 1, words);
    else
        words_of(job, keys, blocks, count, OUT, 0, words);
}

INLINE uint64_t row_of(const char *table, uint64_t bits)
{
    uint64_t row;
    KEEP_SCALAR(bits);
    memcpy(&row, table + sizeof row * ((bits >> 45) - (1022 << 7)), sizeof row);
    return row;
}

/* |z| of WIDTH values, in the upper halves: c0 - (t * (c1 - (t * c2 >> 32)) >> 32). */
INLINE V quadratic(const char *table, const uint64_t *bits)
{
#define ROW(bits) row_of(table, bits)
    const V row = EACH(ROW, bits), t = load(bits) >> 13;
    const V slope = (row >> 11 & every(0x1ffffe)) - (MULTIPLY(t, row & every(0xfff)) >> 32);
    return minus(row, MULTIPLY(t, slope));
}

/* Normal quantiles of words in units of 2**-28, in place; the sign is the sign of the word.
 *
 * w = ~((u ^ sign) << 1) is odd, and w / 2**33 is the upper tail probability. As a double, w / 2 is
 * exact, and its bits hold all we look for: the exponent is the octave, the next seven bits count
 * rows in it, what follows is t. That takes no count of zeros, which many machines lack. */
INLINE void tile_normal(const char *table, uint32_t *words, int count)
{
    _Alignas(64) uint64_t bits[LANES * TILE];
    for (int i = 0; i < count; i++) {
        const double half = 0.5 + (int32_t)(words[i] ^ (0u - (words[i] >> 31)) ^ 0x7fffffff);
        memcpy(&bits[i], &half, sizeof half);
    }
    for (int i = 0; i < count; i += 2 * WIDTH) {
        const V first = quadratic(table, bits + i), second = quadratic(table, bits + i + WIDTH);
        const V sign = signs(load_words(words + i));
        store(words + i, minus(upper_halves(first, second) ^ sign, sign));
    }
}

/* From words to signed fixed point, in place; `count` is a multiple of 2 * WIDTH. */
INLINE void tile_steps(const Job *job, uint32_t *words, int count)
{
    if (job->kind == UNIFORM)
        for (int i = 0; i < count; i++)
            words[i] |= 1;
    if (job->kind == TRUNCATED_NORMAL)
        for (int i = 0; i < count; i += 2 * WIDTH) {
            const V share = multiply_high(load_words(words + i), every(job->width));
            store(words + i, plus(share, pairs(job->lo ^ 0x80000000u)));
        }
    if (job->kind == NORMAL || job->kind == TRUNCATED_NORMAL)
        tile_normal(job->table, words, count);
    if (job->multiplier != 0)
        for (int i = 0; i < count; i++) {
            const uint32_t sign = 0u - (words[i] >> 31), size = (words[i] ^ sign) - sign;
            words[i] = (uint32_t)job->offset + ((mulhi(size, job->multiplier) ^ sign) - sign);
        }
}

/* From fixed point to the values of the dtype, side by side. */
INLINE void tile_values(const Job *job, const uint32_t *z, int count, void *to)
{
    const float factor = (float)job->factor;
    uint16_t *const bits16 = to;
    uint32_t *const bits32 = to;
    double *const float64 = to;
    if (job->dtype == FLOAT32)
        for (int i = 0; i < count; i++)
            bits32[i] = float_bits((int32_t)z[i], factor);
    else if (job->dtype == FLOAT64)
        for (int i = 0; i < count; i++)
            float64[i] = (double)(int32_t)z[i] * job->factor;
    else if (job->dtype == BFLOAT16)
        for (int i = 0; i < count; i++)
            bits16[i] = bfloat16_bits(float_bits((int32_t)z[i], factor));
    else if (job->dtype == FLOAT16)
        for (int i = 0; i < count; i++)
            bits16[i] = float16_bits(float_bits((int32_t)z[i], factor));
    else
        memcpy(to, z, (size_t)count * sizeof *z);
}

/* One move for each size. `memcpy`, because a caller's buffer need not be aligned. */
#define MOVE(BYTES)                                                                              \
    for (int i = 0; i < count; i++)                                                              \
        memcpy(to + i * stride, from + i * (BYTES), BYTES);

/* What is written soon: the machine does not foresee the next page, and finding it takes long. */
INLINE void ask_ahead(const char *to, int bytes)
{
    for (int i = AHEAD; i < AHEAD + bytes; i += LINE)
        PREFETCH((uintptr_t)to + (uintptr_t)i);
}

INLINE void move(char *to, ptrdiff_t stride, const char *from, int bytes, int count)
{
    if (stride == bytes) {
        ask_ahead(to, count * bytes);
        memcpy(to, from, (size_t)count * (size_t)bytes);
    } else if (bytes == 2)
        MOVE(2)
    else if (bytes == 4)
        MOVE(4)
    else
        MOVE(8)
}

/* Store `count` values along a coordinate from `index` on, run by run. */
INLINE void store_along(const Job *job, int along, int64_t index, char *base, const char *values,
                        int count)
{
    const int bytes = SIZES[job->dtype];
    const Coordinate *c = &job->at[along];
    const ptrdiff_t stride = c->axes[c->count - 1].stride;
    if (c->count == 1) {
        move(base + index * stride, stride, values, bytes, count);
        return;
    }
    while (count > 0) {
        int64_t run;
        char *to = base + locate(c, index, &run);
        const int n = run < count ? (int)run : count;
        move(to, stride, values, bytes, n);
        index += n;
        values += n * bytes;
        count -= n;
    }
}

/* ---- loops ------------------------------------------------------------------------------- */

INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* The blocks of a box in the order in which they are made: the fast coordinate runs first. */
typedef struct {
    int slow, middle, fast; /* which coordinates these are */
    int64_t origin[COORDINATES], begin[COORDINATES], end[COORDINATES]; /* j counts blocks here */
} Walk;

typedef struct {
    int64_t slow, middle, fast;
} Place;

/* How many blocks from a place on, at most `room`, differ in the fast coordinate alone; the place
 * moves behind them. */
INLINE int advance(const Walk *walk, Place *place, int room)
{
    const int64_t left = walk->end[walk->fast] - place->fast;
    if (left > room) {
        place->fast += room;
        return room;
    }
    place->fast = walk->begin[walk->fast];
    if (++place->middle == walk->end[walk->middle]) {
        place->middle = walk->begin[walk->middle];
        place->slow++;
    }
    return (int)left;
}

/* Consecutive coordinates, or one again and again, in whole chunks: there is room behind. */
INLINE void ramp(uint32_t *to, int count, int64_t first, uint32_t step)
{
    const uint32_t value = (uint32_t)first;
    for (int i = 0; i < count; i += CHUNK)
        for (uint32_t k = 0; k < CHUNK; k++)
            to[i + (int)k] = value + step * ((uint32_t)i + k);
}

INLINE int collect(const Walk *walk, Place *place, Blocks *blocks)
{
    const int64_t row = walk->end[walk->fast] - walk->begin[walk->fast];
    int count = 0;
    while (count + (row > TILE / 2 ? 1 : row) <= TILE && place->slow < walk->end[walk->slow]) {
        const Place from = *place;
        const int run = advance(walk, place, TILE - count);
        if (walk->end[walk->slow] - walk->begin[walk->slow] > 1)
            ramp(blocks->at[walk->slow] + count, run, walk->origin[walk->slow] + from.slow, 0);
        ramp(blocks->at[walk->middle] + count, run, walk->origin[walk->middle] + from.middle, 0);
        ramp(blocks->at[walk->fast] + count, run, walk->origin[walk->fast] + from.fast, 1);
        blocks->run = count == 0;
        count += run;
    }
    return count;
}

/* A run of blocks along j: the four values of each are neighbours. */
INLINE void store_neighbours(const Job *job, const Walk *walk, const Place *from, int count,
                             const char *values)
{
    const Coordinate *in = &job->at[IN];
    const int64_t j = from->fast * LANES;
    int64_t run;
    char *base = job->data + locate(&job->at[walk->slow], from->slow, &run) +
                 locate(&job->at[walk->middle], from->middle, &run);
    store_along(job, IN, j, base, values, (int)least((int64_t)LANES * count, in->end - j));
}

/* A run of blocks along o (or s): the four lanes are four rows of memory. */
INLINE void store_rows(const Job *job, const Walk *walk, const Place *from, int count,
                       const char *values)
{
    const Coordinate *in = &job->at[IN];
    int64_t run, j = from->middle * LANES;
    char *base = job->data + locate(&job->at[walk->slow], from->slow, &run);
    for (int lane = 0; lane < LANES && j < in->end; lane++, j++)
        store_along(job, walk->fast, from->fast, base + locate(in, j, &run),
                    values + lane * TILE * SIZES[job->dtype], count);
}

INLINE void store_tile(const Job *job, const Walk *walk, Place *place, int count,
                       const char *values)
{
    const int size = SIZES[job->dtype], each = walk->fast == IN ? LANES * size : size;
    while (count > 0) {
        const Place from = *place;
        const int run = advance(walk, place, count);
        if (walk->fast == IN)
            store_neighbours(job, walk, &from, run, values);
        else
            store_rows(job, walk, &from, run, values);
        values += run * each;
        count -= run;
    }
}

INLINE void fill_walk(const Job *job, const Walk *walk)
{
    const int neighbours = walk->fast == IN;
    const int rows = neighbours ? 1 : (int)least(LANES, job->at[IN].end - job->at[IN].begin);
    Place next = {walk->begin[walk->slow], walk->begin[walk->middle], walk->begin[walk->fast]};
    Place stored = next;
    _Alignas(64) Blocks blocks = {{{0}}, 0};
    _Alignas(64) uint32_t words[LANES * TILE];
    _Alignas(64) double values[LANES * TILE]; /* of any dtype */
    Keys keys;
    schedule(job, &keys);
    ramp(blocks.at[walk->slow], TILE, walk->origin[walk->slow] + next.slow, 0); /* often all */
    for (int count = collect(walk, &next, &blocks), following; count > 0; count = following) {
        const int whole = (count + WHOLE - 1) / WHOLE * WHOLE;
        tile_words(job, &keys, &blocks, whole, walk->fast, words);
        following = collect(walk, &next, &blocks); /* early: what was just written reads slowly */
        for (int row = 0; row < rows; row++) {
            uint32_t *const z = words + row * TILE;
            tile_steps(job, z, neighbours ? LANES * whole : whole);
            tile_values(job, z, neighbours ? LANES * whole : whole,
                        (char *)values + row * TILE * SIZES[job->dtype]);
        }
        store_tile(job, walk, &stored, count, (const char *)values);
    }
}

INLINE ptrdiff_t least_stride(const Coordinate *c)
{
    ptrdiff_t found = PTRDIFF_MAX;
    for (int k = 0; k < c->count; k++) {
        const ptrdiff_t stride = c->axes[k].stride;
        found = least(found, stride < 0 ? -stride : stride);
    }
    return found;
}

/* The fast coordinate: the one that lies closest in memory and has more than a few indices. */
INLINE int choose_fast(const Job *job)
{
    int best = -1, longest = IN;
    for (int which = IN; which >= STACK; which--) {
        const Coordinate *c = &job->at[which];
        const int64_t size = c->end - c->begin;
        if (size > job->at[longest].end - job->at[longest].begin)
            longest = which;
        if (size >= LANES && (best < 0 || least_stride(c) < least_stride(&job->at[best])))
            best = which;
    }
    return best < 0 ? longest : best;
}

void FILL(const Job *job);

void FILL(const Job *job)
{
    const int fast = choose_fast(job);
    Walk walk = {.fast = fast};
    walk.middle = fast == IN ? OUT : IN;
    walk.slow = fast == STACK ? OUT : STACK;
    for (int which = STACK; which < COORDINATES; which++) {
        const int unit = which == IN ? LANES : 1;
        walk.origin[which] = job->at[which].origin / unit;
        walk.begin[which] = job->at[which].begin / unit;
        walk.end[which] = (job->at[which].end + unit - 1) / unit;
    }
    const int64_t end = walk.end[fast];
    while (walk.begin[fast] < end) {
        walk.end[fast] = fast == IN ? end : least(end, walk.begin[fast] + STRETCH);
        fill_walk(job, &walk);
        walk.begin[fast] = walk.end[fast];
    }
}
