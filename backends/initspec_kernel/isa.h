/* The instances of the kernel, one for each instruction set, and which of them run here. */
#ifndef INITSPEC_ISA_H
#define INITSPEC_ISA_H

#include "job.h"

typedef struct {
    const char *name;
    void (*fill)(const Job *job);
} Isa;

/* The instances that this processor runs, best first; an entry without a name ends them. */
const Isa *isa_usable(void);

#endif
