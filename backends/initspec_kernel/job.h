/* What the kernel is asked to do: one box of coordinates of one strided buffer. */
#ifndef INITSPEC_JOB_H
#define INITSPEC_JOB_H

#include <stddef.h>
#include <stdint.h>

enum { STACK, OUT, IN, COORDINATES };                 /* s, o, j */
enum { FLOAT32, FLOAT64, BFLOAT16, FLOAT16, UINT32 }; /* dtype */
enum { UNIFORM, NORMAL, TRUNCATED_NORMAL, WORDS };    /* kind; words as they are: UINT32 */
enum { MAX_AXES = 64 };
enum { LANES = 4 };                                   /* words per Philox block */
enum { TABLE_BYTES = 32 * 128 * 8 };

typedef struct {
    int64_t size;
    ptrdiff_t stride;
} Axis;

/* One of s, o, j: a mixed-radix number whose digits are axes, outermost first. The buffer's first
 * index is the tensor's `origin`; the box goes from `begin` to `end` of the buffer. */
typedef struct {
    int64_t origin, extent, begin, end;
    int count;
    Axis axes[MAX_AXES];
} Coordinate;

typedef struct {
    uint32_t key0, key1, purpose;
    uint32_t lo, width, multiplier;
    int32_t offset;
    int dtype, kind;
    double factor;
    const char *table; /* 4096 numbers of 64 bits: c0 above, c1 and c2 below */
    char *data;
    Coordinate at[COORDINATES];
} Job;

#endif
