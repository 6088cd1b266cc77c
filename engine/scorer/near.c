/* The rows of exact.c in float32, twice as fast: to find out which of very many rows are worth float64.
 * One rule: it accepts nothing alone; truth.py says how far it is believed.
 */
#define NEAR
#include "exact.c"
