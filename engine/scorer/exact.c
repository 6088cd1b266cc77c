/* How far a candidate's rows are from the truth: softmax(scale Q K^T) V at some query positions, in float64.
 *
 * One rule: this is the formula of a problem's reference.py (Milakov and Gimelshein 2018, online softmax) and nothing
 * else; the judge compares the two on other data before it believes this one. Keys and values are read as float32 and
 * widened a tile at a time, which is exact, so no float64 copy of them is ever made. near.c compiles this file once
 * more, in float32.
 *
 * Rows lie in vector lanes: both products are C[i][rows] += A[i][l] * B[l][rows], and the softmax needs no sum across a
 * vector. A panel is WIDTH rows; a block of panels shares each widened tile of keys and values.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__AVX__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
enum { BYTES = 64, HEIGHT = 8 };
#elif defined(__AVX__)
enum { BYTES = 32, HEIGHT = 4 };
#else
enum { BYTES = 16, HEIGHT = 4 };
#endif

/* HIDDEN is below every logit, and finite, so that differences of it are too. Adding TURN rounds to an integer in the
 * low bits; below LEAST a weight is nothing beside 1, that of the largest; TERMS is where Taylor's series of e^r ends. */
#ifdef NEAR
typedef float Real;
typedef int32_t Whole;
enum { MANTISSA = 23, TERMS = 7 };
static const Real HIDDEN = -1e37f, TURN = 12582912.0f, LEAST = -87.0f, LN2_HIGH = 0.693359375f, LN2_LOW = -2.12194440e-4f;
#define errors_of_rows near_errors
#else
typedef double Real;
typedef int64_t Whole;
enum { MANTISSA = 52, TERMS = 12 };
static const Real HIDDEN = -1e300, TURN = 6755399441055744.0, LEAST = -707.0;
static const Real LN2_HIGH = 0.693147180369123816490, LN2_LOW = 1.90821492927058770002e-10;
#define errors_of_rows exact_errors
#endif
enum { LANES = BYTES / sizeof(Real), ACROSS = 3, WIDTH = ACROSS * LANES, PANELS = 8, TILE = 64, MOST_THREADS = 64 };
static const Real INVERSE_FACTORIAL[] = {
    1.0, 1.0, 1.0 / 2, 1.0 / 6, 1.0 / 24, 1.0 / 120, 1.0 / 720, 1.0 / 5040, 1.0 / 40320, 1.0 / 362880, 1.0 / 3628800,
    1.0 / 39916800, 1.0 / 479001600,
};

typedef Real Lane __attribute__((vector_size(BYTES)));
typedef Whole Bits __attribute__((vector_size(BYTES)));

typedef struct {
    const float *q, *k, *v, *o; /* [batch, seqlen, heads, width], contiguous */
    int batch, heads_q, heads_kv, seqlen, width, causal;
    double scale;
    const int64_t *positions; /* rising */
    size_t count;
    double *errors; /* [batch, count, heads_q] */
} Rows;

/* One thread's room. `depth` is the width of a head, rounded up to HEIGHT. */
typedef struct {
    Real *keys, *values; /* [TILE][depth] */
    Lane *q, *o;         /* [PANELS][depth][ACROSS] */
    Lane *p;             /* [TILE][ACROSS] */
    Lane most[PANELS][ACROSS], sum[PANELS][ACROSS];
    Real last[PANELS * WIDTH]; /* the last key that each row sees */
    size_t depth;
} Room;

/* Loaded once, and not again with every instruction that uses it. */
#if defined(__x86_64__)
#define IN_REGISTER(value) ({ Lane held = (value); __asm__("" : "+v"(held)); held; })
#else
#define IN_REGISTER(value) (value)
#endif

static inline Lane choose(Bits which, Lane yes, Lane no) { return (Lane)((which & (Bits)yes) | (~which & (Bits)no)); }

static inline Lane all(Real x) { return (Lane){0} + x; }

static inline Lane larger(Lane a, Lane b) {
#if defined(__AVX512F__) && defined(NEAR)
    return (Lane)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX512F__)
    return (Lane)_mm512_max_pd((__m512d)a, (__m512d)b);
#elif defined(__AVX__) && defined(NEAR)
    return (Lane)_mm256_max_ps((__m256)a, (__m256)b);
#elif defined(__AVX__)
    return (Lane)_mm256_max_pd((__m256d)a, (__m256d)b);
#else
    return choose(a > b, a, b);
#endif
}

/* exp(x) for x <= 0 to a few units in the last place: 2^n e^r with |r| <= ln(2)/2. */
static inline Lane exp_below(Lane x) {
    x = larger(x, all(LEAST));
    Lane shifted = x * (Real)1.4426950408889634 + TURN, n = shifted - TURN;
    Lane r = x - n * LN2_HIGH, s = all(INVERSE_FACTORIAL[TERMS]);
    r -= n * LN2_LOW;
#pragma GCC unroll 12
    for (int term = TERMS - 1; term >= 0; --term) s = s * r + INVERSE_FACTORIAL[term];
    return s * (Lane)(((Bits)shifted << MANTISSA) + (Bits)all(1.0));
}

/* C[i][rows] = (keep ? C : 0) + sum over l < length of A[i * down + l * along] * B[l][rows], for HEIGHT rows of C. */
typedef struct { const Real *a; size_t down, along; const Lane *b; int length, keep; } Product;

static inline __attribute__((always_inline)) void multiply_as(const int across, Lane *c, const Product *with) {
    Lane x[HEIGHT][ACROSS];
    const Real *a = with->a;
    const Lane *b = with->b;
    const size_t down = with->down;
#pragma GCC unroll 8
    for (int i = 0; i < HEIGHT; ++i)
#pragma GCC unroll 3
        for (int j = 0; j < across; ++j) x[i][j] = with->keep ? c[i * ACROSS + j] : all(0);
    for (int l = 0; l < with->length; ++l, a += with->along, b += ACROSS) {
        Lane row[ACROSS];
#pragma GCC unroll 3
        for (int j = 0; j < across; ++j) row[j] = IN_REGISTER(b[j]);
#pragma GCC unroll 8
        for (int i = 0; i < HEIGHT; ++i)
#pragma GCC unroll 3
            for (int j = 0; j < across; ++j) x[i][j] += a[i * down] * row[j];
    }
#pragma GCC unroll 8
    for (int i = 0; i < HEIGHT; ++i)
#pragma GCC unroll 3
        for (int j = 0; j < across; ++j) c[i * ACROSS + j] = x[i][j];
}

/* The same for the first `across` vectors of the rows: a panel need not be full. Not inlined, where what surrounds it
 * would take registers from its sums. */
static __attribute__((noinline)) void multiply(int across, Lane *c, Product with) {
    if (across == 1) multiply_as(1, c, &with);
    if (across == 2) multiply_as(2, c, &with);
    if (across == 3) multiply_as(3, c, &with);
}

/* Widen one tile of keys or values; rows beyond the sequence become zeros. */
static void widen(Real *to, size_t depth, const float *from, size_t stride, int width, int keys) {
    for (int key = 0; key < TILE; ++key, to += depth, from += stride) {
        if (key >= keys) {
            memset(to, 0, depth * sizeof *to);
            continue;
        }
        for (int d = 0; d < width; ++d) to[d] = from[d];
    }
}

/* The softmax of one tile of logits, and what it does to the sums so far: logits become weights. */
static void soften(Room *room, int panel, int across, int first_key, int hide) {
    for (int j = 0; j < across; ++j) {
        Lane *p = room->p + j, most = room->most[panel][j], sum = all(0), last;
        memcpy(&last, room->last + panel * WIDTH + j * LANES, sizeof last);
        for (int key = 0; key < TILE; ++key) {
            if (hide) p[key * ACROSS] = choose(all((Real)(first_key + key)) > last, all(HIDDEN), p[key * ACROSS]);
            most = larger(p[key * ACROSS], most);
        }
        const Lane before = exp_below(room->most[panel][j] - most);
        for (int key = 0; key < TILE; ++key) {
            p[key * ACROSS] = exp_below(p[key * ACROSS] - most); /* every row saw a key by now: key 0 */
            sum += p[key * ACROSS];
        }
        room->most[panel][j] = most;
        room->sum[panel][j] = room->sum[panel][j] * before + sum;
        Lane *o = room->o + (size_t)panel * room->depth * ACROSS + j;
        for (size_t d = 0; d < room->depth; ++d) o[d * ACROSS] *= before;
    }
}

/* Some rows that share a key head: row n of them is head n % group at the position with number n / group. */
typedef struct { const Rows *rows; int batch, head; size_t first; int count, group; } Block;

static int64_t position(const Block *block, int row) {
    return block->rows->positions[(block->first + row) / block->group];
}

static int head(const Block *block, int row) {
    return block->head * block->group + (int)((block->first + row) % block->group);
}

/* Where a row begins in q and o. */
static size_t element(const Block *block, int row) {
    const Rows *r = block->rows;
    return (((size_t)block->batch * r->seqlen + position(block, row)) * r->heads_q + head(block, row)) * r->width;
}

static void load_rows(Room *room, const Block *block) {
    const Rows *r = block->rows;
    memset(room->q, 0, PANELS * room->depth * ACROSS * sizeof(Lane));
    memset(room->o, 0, PANELS * room->depth * ACROSS * sizeof(Lane));
    for (int row = 0; row < PANELS * WIDTH; ++row) {
        room->last[row] = (Real)(r->seqlen - 1);
        if (row >= block->count) continue;
        if (r->causal) room->last[row] = (Real)position(block, row);
        const float *q = r->q + element(block, row);
        Real *to = (Real *)(room->q + (size_t)(row / WIDTH) * room->depth * ACROSS) + row % WIDTH;
        for (int d = 0; d < r->width; ++d) to[(size_t)d * WIDTH] = (Real)(q[d] * r->scale);
    }
    for (int panel = 0; panel < PANELS; ++panel)
        for (int j = 0; j < ACROSS; ++j) room->most[panel][j] = all(HIDDEN), room->sum[panel][j] = all(0);
}

/* |got - truth| / |truth| of each row of a block. */
static void compare_rows(Room *room, const Block *block) {
    const Rows *r = block->rows;
    for (int row = 0; row < block->count; ++row) {
        const Real *o = (Real *)(room->o + (size_t)(row / WIDTH) * room->depth * ACROSS) + row % WIDTH;
        const double share = 1.0 / ((Real *)room->sum[row / WIDTH])[row % WIDTH];
        const float *got = r->o + element(block, row);
        double off = 0.0, size = 0.0;
        for (int d = 0; d < r->width; ++d) {
            const double truth = o[(size_t)d * WIDTH] * share, by = got[d] - truth;
            off += by * by, size += truth * truth;
        }
        const size_t at = (size_t)block->batch * r->count + (block->first + row) / block->group;
        r->errors[at * r->heads_q + head(block, row)] = __builtin_sqrt(off / size);
    }
}

static void check_block(Room *room, const Block *block) {
    const Rows *r = block->rows;
    const int panels = (block->count + WIDTH - 1) / WIDTH;
    const size_t stride = (size_t)r->heads_kv * r->width, depth = room->depth;
    load_rows(room, block);
    const int reach = r->causal ? (int)room->last[block->count - 1] + 1 : r->seqlen;
    for (int begin = 0; begin < reach; begin += TILE) {
        const int keys = r->seqlen - begin < TILE ? r->seqlen - begin : TILE;
        const size_t at = ((size_t)block->batch * r->seqlen + begin) * stride + (size_t)block->head * r->width;
        widen(room->keys, depth, r->k + at, stride, r->width, keys);
        widen(room->values, depth, r->v + at, stride, r->width, keys);
        for (int panel = 0; panel < panels; ++panel) {
            const int rows = panel + 1 < panels ? WIDTH : block->count - panel * WIDTH;
            const int across = (rows + LANES - 1) / LANES;
            if (room->last[panel * WIDTH + rows - 1] < begin) continue; /* rows rise: none of this panel sees the tile */
            const Lane *q = room->q + panel * depth * ACROSS;
            Lane *o = room->o + panel * depth * ACROSS;
            for (int key = 0; key < TILE; key += HEIGHT)
                multiply(across, room->p + key * ACROSS, (Product){room->keys + key * depth, depth, 1, q, r->width, 0});
            soften(room, panel, across, begin, begin + TILE - 1 > room->last[panel * WIDTH]);
            for (size_t d = 0; d < depth; d += HEIGHT)
                multiply(across, o + d * ACROSS, (Product){room->values + d, 1, depth, room->p, TILE, 1});
        }
    }
    compare_rows(room, block);
}

typedef struct { const Rows *rows; size_t blocks; atomic_size_t next; atomic_int failed; } Work;

static int make_room(Room *room, int width) {
    const size_t depth = ((size_t)width + HEIGHT - 1) / HEIGHT * HEIGHT, lanes = depth * ACROSS * sizeof(Lane);
    const size_t tile = TILE * depth * sizeof(Real);
    char *memory = aligned_alloc(64, 2 * tile + 2 * PANELS * lanes + TILE * ACROSS * sizeof(Lane));
    if (!memory) return -1;
    memset(memory, 0, 2 * tile);
    room->keys = (Real *)memory, room->values = (Real *)(memory + tile);
    room->q = (Lane *)(memory + 2 * tile), room->o = (Lane *)(memory + 2 * tile + PANELS * lanes);
    room->p = (Lane *)(memory + 2 * tile + 2 * PANELS * lanes), room->depth = depth;
    return 0;
}

/* Take blocks until none is left: head after head, whose keys then stay near, and its last rows, which see the most keys,
 * first. */
static void *check_part(void *argument) {
    Work *work = argument;
    const Rows *r = work->rows;
    const int group = r->heads_q / r->heads_kv;
    const size_t heads = (size_t)r->batch * r->heads_kv, rows = r->count * group, most = PANELS * WIDTH;
    Room room;
    if (make_room(&room, r->width) != 0) return atomic_store(&work->failed, 1), NULL;
    for (size_t at; (at = atomic_fetch_add(&work->next, 1)) < work->blocks * heads;) {
        const int batch = (int)(at / work->blocks / r->heads_kv), head = (int)(at / work->blocks % r->heads_kv);
        const size_t first = (work->blocks - 1 - at % work->blocks) * most, left = rows - first;
        const Block block = {r, batch, head, first, (int)(left < most ? left : most), group};
        check_block(&room, &block);
    }
    free(room.keys);
    return NULL;
}

/* Write the row-relative L2 error of every row asked for. 0, or -1 when memory is out. */
int errors_of_rows(const Rows *rows, int threads) {
    const size_t most = PANELS * WIDTH, sharing = rows->count * (rows->heads_q / rows->heads_kv);
    const size_t pairs = (size_t)rows->batch * rows->heads_q * rows->count * rows->seqlen;
    Work work = {.rows = rows, .blocks = (sharing + most - 1) / most};
    pthread_t ids[MOST_THREADS];
    int started = 0;
    if (threads > MOST_THREADS) threads = MOST_THREADS;
    for (; pairs > 20000 && started + 1 < threads; ++started)
        if (pthread_create(&ids[started], NULL, check_part, &work) != 0) break;
    check_part(&work);
    for (int t = 0; t < started; ++t) pthread_join(ids[t], NULL);
    return atomic_load(&work.failed) ? -1 : 0;
}
