#include "isa.h"

#define FILL fill_portable
#include "fill.h"

void fill_avx2(const Job *job);
void fill_avx512(const Job *job);

const Isa *isa_usable(void)
{
    static Isa usable[4];
    Isa *next = usable;
#if defined(INITSPEC_X86)
    /* The system must save the wide registers, too; the compiler's runtime asks for both. */
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw"))
        *next++ = (Isa){"avx512", fill_avx512};
    if (__builtin_cpu_supports("avx2"))
        *next++ = (Isa){"avx2", fill_avx2};
#endif
    *next = (Isa){"portable", fill_portable};
    return usable;
}
