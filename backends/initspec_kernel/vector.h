/* A register of 64-bit lanes, as wide as the instruction set that this file is compiled for.
 *
 * One body, `fill.h`, is written in these few operations and compiled once for each instruction
 * set. A lane mostly holds one 32-bit word in its lower half and rubbish in the upper one, because
 * that is what the multiplication of every machine takes: 32 x 32 bits, 64 bits out.
 *
 * Compilers without vector extensions get registers of one lane, which are plain integers.
 */
#ifndef INITSPEC_VECTOR_H
#define INITSPEC_VECTOR_H

#include <stdint.h>
#include <string.h>

#if defined(_MSC_VER)
#define INLINE static __forceinline
#else
#define INLINE static inline __attribute__((always_inline))
#endif

/* A hint that an address will be written; it may lie behind the end of the tensor. */
#if defined(_MSC_VER)
#define PREFETCH(address) (void)(address)
#else
#define PREFETCH(address) __builtin_prefetch((const void *)(address), 1)
#endif

/* Addresses are best made one by one; Clang would make them in a register and take it apart. */
#if defined(__clang__)
#define KEEP_SCALAR(number) __asm__("" : "+r"(number))
#else
#define KEEP_SCALAR(number) (void)(number)
#endif

#define EACH_4(F, p) F((p)[0]), F((p)[1]), F((p)[2]), F((p)[3])

#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector) && __has_builtin(__builtin_convertvector)
#if defined(__AVX512F__)
#include <immintrin.h>
#define WIDTH 8
#define MULTIPLY(a, b) ((V)_mm512_mul_epu32((__m512i)(a), (__m512i)(b)))
#define WIDEN(words) ((V)_mm512_cvtepu32_epi64((__m256i)(words)))
#define EVEN 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define ODD 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31
#define ZIP_FIRST 0, 8, 1, 9, 2, 10, 3, 11
#define ZIP_LAST 4, 12, 5, 13, 6, 14, 7, 15
#define EACH(F, p) {EACH_4(F, p), EACH_4(F, (p) + 4)}
#elif defined(__AVX2__)
#include <immintrin.h>
#define WIDTH 4
#define MULTIPLY(a, b) ((V)_mm256_mul_epu32((__m256i)(a), (__m256i)(b)))
#define WIDEN(words) ((V)_mm256_cvtepu32_epi64((__m128i)(words)))
#define EVEN 0, 2, 4, 6, 8, 10, 12, 14
#define ODD 1, 3, 5, 7, 9, 11, 13, 15
#define ZIP_FIRST 0, 4, 1, 5
#define ZIP_LAST 2, 6, 3, 7
#define EACH(F, p) {EACH_4(F, p)}
#elif defined(__SSE2__)
#include <emmintrin.h>
#define WIDTH 2
#define MULTIPLY(a, b) ((V)_mm_mul_epu32((__m128i)(a), (__m128i)(b)))
#elif defined(__ARM_NEON) && defined(__AARCH64EL__)
#include <arm_neon.h>
#define WIDTH 2
#define MULTIPLY(a, b) ((V)vmull_u32(vmovn_u64((uint64x2_t)(a)), vmovn_u64((uint64x2_t)(b))))
#endif
#endif
#endif

#if defined(WIDTH) && WIDTH == 2
#define EVEN 0, 2, 4, 6
#define ODD 1, 3, 5, 7
#define ZIP_FIRST 0, 2
#define ZIP_LAST 1, 3
#define EACH(F, p) {F((p)[0]), F((p)[1])}
#define WIDEN(words) __builtin_convertvector(words, V)
#endif

#ifdef WIDTH

typedef uint64_t V __attribute__((vector_size(8 * WIDTH)));
typedef uint32_t Words __attribute__((vector_size(8 * WIDTH)));
typedef int32_t Signed __attribute__((vector_size(8 * WIDTH)));
typedef uint32_t Half __attribute__((vector_size(4 * WIDTH)));

INLINE V every(uint64_t value) { return value - (V){0}; }

INLINE V load(const uint64_t *from)
{
    V lanes;
    memcpy(&lanes, from, sizeof lanes);
    return lanes;
}

/* A word into each lane. */
INLINE V spread(const uint32_t *from)
{
    Half words;
    memcpy(&words, from, sizeof words);
    return WIDEN(words);
}

/* Two words into each lane. */
INLINE V load_words(const uint32_t *from)
{
    V words;
    memcpy(&words, from, sizeof words);
    return words;
}

/* The lower (upper) halves of all lanes of a, then of b. */
INLINE V lower_halves(V a, V b)
{
    return (V)__builtin_shufflevector((Words)a, (Words)b, EVEN);
}
INLINE V upper_halves(V a, V b) { return (V)__builtin_shufflevector((Words)a, (Words)b, ODD); }

/* a0 b0 a1 b1 ...: the first and the last lanes. */
INLINE V zip_first(V a, V b) { return __builtin_shufflevector(a, b, ZIP_FIRST); }
INLINE V zip_last(V a, V b) { return __builtin_shufflevector(a, b, ZIP_LAST); }

INLINE void store(uint32_t *to, V words) { memcpy(to, &words, sizeof words); }

/* The lower halves of all lanes, side by side. */
INLINE void store_lower(uint32_t *to, V lanes)
{
    const Half words = __builtin_convertvector(lanes, Half);
    memcpy(to, &words, sizeof words);
}

/* a + b and a - b, word by word: nothing is carried to the upper half or borrowed from it. */
INLINE V plus(V a, V b) { return (V)((Words)a + (Words)b); }
INLINE V minus(V a, V b) { return (V)((Words)a - (Words)b); }

/* -1 for each word whose first bit is set, else 0. */
INLINE V signs(V words) { return (V)((Signed)words >> 31); }

#else

#define WIDTH 1
#define MULTIPLY(a, b) ((uint64_t)(uint32_t)(a) * (uint32_t)(b))
#define EACH(F, p) F((p)[0])
typedef uint64_t V;

INLINE V every(uint64_t value) { return value; }
INLINE V load(const uint64_t *from) { return *from; }
INLINE V load_words(const uint32_t *from) { return from[0] | (uint64_t)from[1] << 32; }
INLINE V spread(const uint32_t *from) { return *from; }
INLINE V lower_halves(V a, V b) { return (uint32_t)a | b << 32; }
INLINE V upper_halves(V a, V b) { return a >> 32 | b >> 32 << 32; }
INLINE V zip_first(V a, V b) { return (void)b, a; }
INLINE V zip_last(V a, V b) { return (void)a, b; }
INLINE V plus(V a, V b)
{
    return (uint32_t)((uint32_t)a + (uint32_t)b) | ((a >> 32) + (b >> 32)) << 32;
}
INLINE V minus(V a, V b)
{
    return (uint32_t)((uint32_t)a - (uint32_t)b) | ((a >> 32) - (b >> 32)) << 32;
}
INLINE V signs(V words) { return (words >> 31 & 0x100000001u) * UINT32_MAX; }
INLINE void store_lower(uint32_t *to, V lanes) { *to = (uint32_t)lanes; }
INLINE void store(uint32_t *to, V words)
{
    to[0] = (uint32_t)words;
    to[1] = (uint32_t)(words >> 32);
}

#endif

/* One number in every half. */
INLINE V pairs(uint32_t value) { return every(value | (uint64_t)value << 32); }

/* The lower half of a, and above it that of b. */
INLINE V pair(V a, V b) { return (a & every(UINT32_MAX)) | b << 32; }

/* The upper words of the products of all words with one of 32 bits. */
INLINE V multiply_high(V words, V by)
{
    return MULTIPLY(words, by) >> 32 | (MULTIPLY(words >> 32, by) & every(~(uint64_t)UINT32_MAX));
}

#endif
