/* What the vector loops of blocks_loops.h share; that file is compiled once per width of vectors.

A block is eight lanes: rows of eight doubles, first the fields of a state, then its ring. The loops
step lanes that are warm; of others, and of those that need more than the common case, they only
say so in `left`, and the scalar kernel steps them. Same arithmetic in the same order as there.
KcSweep stands in blocks.pxd, which others take in without this file. */

#ifndef KC_BLOCKS_H
#define KC_BLOCKS_H

#include <math.h>
#include <stdint.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* Largest usable |x| by lane: 1e100 for the lanes of a set, -1 for others, so that one comparison
   asks for both. */
static __attribute__((aligned(64))) double kc_limits[256][KC_BLOCK];

static void kc_fill_limits(void) {
    for (int set = 0; set < 256; set++)
        for (int lane = 0; lane < KC_BLOCK; lane++)
            kc_limits[set][lane] = set >> lane & 1 ? 1e100 : -1.0;
}

/* Write down at which slots the lanes of a block are, the first `ahead` of them one further, and
   let `beats` say nothing. */
static void kc_write_slots(const KcSweep *w, Py_ssize_t block, int ahead) {
    if (w->slots < 0 || w->beats[block] < 0) return;
    const double beat = w->beats[block], next = beat + 1 == w->period[0] ? 0 : beat + 1;
    double *slots = w->blocks + block * w->size + w->slots;
    for (int lane = 0; lane < KC_BLOCK; lane++) slots[lane] = lane < ahead ? next : beat;
    w->beats[block] = -1;
}

#define KC_INLINE static inline __attribute__((always_inline))

#define KC_WIDTH 2
#define KC(name) kc_##name##_baseline
#define KC_TARGET
#define KC_MASK KC(I)
#define KC_PICK(which, yes, no) ((KC(V))(((which) & (KC(I))(yes)) | (~(which) & (KC(I))(no))))
#if defined(__x86_64__)
#define KC_LESS(a, b) ((KC(I))_mm_cmplt_pd((__m128d)(a), (__m128d)(b)))
#define KC_AT_MOST(a, b) ((KC(I))_mm_cmple_pd((__m128d)(a), (__m128d)(b)))
#define KC_EQUAL(a, b) ((KC(I))_mm_cmpeq_pd((__m128d)(a), (__m128d)(b)))
#define KC_BITS(v) ((unsigned)_mm_movemask_pd((__m128d)(v)))
#define KC_ROOT(v) ((KC(V))_mm_sqrt_pd((__m128d)(v)))
/* Exactly a > b ? a : b, whatever they are. */
#define KC_LARGER(a, b) ((KC(V))_mm_max_pd((__m128d)(a), (__m128d)(b)))
#else
#define KC_LESS(a, b) ((a) < (b))
#define KC_AT_MOST(a, b) ((a) <= (b))
#define KC_EQUAL(a, b) ((a) == (b))
KC_INLINE unsigned kc_bits(const int64_t *v) { return (v[0] & 1) | (v[1] & 2); }
#define KC_BITS(v) kc_bits((const int64_t *)&(v))
#define KC_ROOT(v) ((KC(V)){sqrt((v)[0]), sqrt((v)[1])})
#define KC_LARGER(a, b) KC_PICK((a) > (b), a, b)
#endif
#include "blocks_loops.h"
#undef KC_WIDTH
#undef KC
#undef KC_TARGET
#undef KC_LESS
#undef KC_AT_MOST
#undef KC_EQUAL
#undef KC_BITS
#undef KC_ROOT
#undef KC_LARGER
#undef KC_PICK

#if defined(__x86_64__)
#define KC_WIDTH 4
#define KC(name) kc_##name##_avx2
#define KC_TARGET __attribute__((target("avx2")))
#define KC_COMPARE(a, b, how) ((KC(I))_mm256_cmp_pd((__m256d)(a), (__m256d)(b), how))
#define KC_LESS(a, b) KC_COMPARE(a, b, _CMP_LT_OQ)
#define KC_AT_MOST(a, b) KC_COMPARE(a, b, _CMP_LE_OQ)
#define KC_EQUAL(a, b) KC_COMPARE(a, b, _CMP_EQ_OQ)
#define KC_BITS(v) ((unsigned)_mm256_movemask_pd((__m256d)(v)))
#define KC_ROOT(v) ((KC(V))_mm256_sqrt_pd((__m256d)(v)))
#define KC_LARGER(a, b) ((KC(V))_mm256_max_pd((__m256d)(a), (__m256d)(b)))
#define KC_PICK(which, yes, no) \
    ((KC(V))_mm256_blendv_pd((__m256d)(no), (__m256d)(yes), (__m256d)(which)))
#include "blocks_loops.h"
#undef KC_WIDTH
#undef KC
#undef KC_TARGET
#undef KC_LESS
#undef KC_AT_MOST
#undef KC_EQUAL
#undef KC_BITS
#undef KC_ROOT
#undef KC_LARGER
#undef KC_PICK
#undef KC_MASK
#undef KC_COMPARE

#define KC_WIDTH 8
#define KC(name) kc_##name##_avx512
#define KC_TARGET __attribute__((target("avx512f,avx512dq")))
#define KC_MASK __mmask8
#define KC_COMPARE(a, b, how) _mm512_cmp_pd_mask((__m512d)(a), (__m512d)(b), how)
#define KC_LESS(a, b) KC_COMPARE(a, b, _CMP_LT_OQ)
#define KC_AT_MOST(a, b) KC_COMPARE(a, b, _CMP_LE_OQ)
#define KC_EQUAL(a, b) KC_COMPARE(a, b, _CMP_EQ_OQ)
#define KC_BITS(v) ((unsigned)(v))
#define KC_ROOT(v) ((KC(V))_mm512_sqrt_pd((__m512d)(v)))
#define KC_LARGER(a, b) ((KC(V))_mm512_max_pd((__m512d)(a), (__m512d)(b)))
#define KC_PICK(which, yes, no) \
    ((KC(V))_mm512_mask_blend_pd(which, (__m512d)(no), (__m512d)(yes)))
#include "blocks_loops.h"

/* 0: the baseline; 1: AVX2; 2: AVX-512, where it does not make the processor slow down. */
static int kc_widest(void) {
    if (__builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vbmi2")) return 2;
    return __builtin_cpu_supports("avx2") ? 1 : 0;
}

static KcLoop kc_loop(int width, int loop, int commit) {
    if (width == 2) return kc_table_avx512[loop][commit];
    return (width ? kc_table_avx2 : kc_table_baseline)[loop][commit];
}
#else
static int kc_widest(void) { return 0; }

static KcLoop kc_loop(int width, int loop, int commit) {
    (void)width;
    return kc_table_baseline[loop][commit];
}
#endif

#endif
