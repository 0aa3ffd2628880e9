#define FILL fill_avx512
#include "fill.h"
