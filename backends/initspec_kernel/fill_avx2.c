#define FILL fill_avx2
#include "fill.h"
