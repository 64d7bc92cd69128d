/* The vector loops, for KC_WIDTH doubles at once: see blocks.h, which includes this. */

typedef double KC(V) __attribute__((vector_size(8 * KC_WIDTH)));
typedef int64_t KC(M) __attribute__((vector_size(8 * KC_WIDTH)));
typedef double KC(U) __attribute__((vector_size(8 * KC_WIDTH), aligned(8), may_alias));
#define V KC(V)
#define M KC(M)
#define HALVES(h) for (int h = 0; h < KC_BLOCK; h += KC_WIDTH)

KC_TARGET KC_INLINE V KC(load)(const double *p) { return *(const KC(U) *)p; }

KC_TARGET KC_INLINE void KC(store)(double *p, V v) { *(KC(U) *)p = v; }

KC_TARGET KC_INLINE V KC(all)(double x) { return x - (V){0}; }

KC_TARGET KC_INLINE V KC(pick)(M which, V yes, V no) {
    return KC_PICK(which, yes, no);
}

KC_TARGET KC_INLINE V KC(abs)(V v) { return (V)((M)v & INT64_MAX); }

KC_TARGET KC_INLINE V KC(larger)(V a, V b) { return KC_LARGER(a, b); }

KC_TARGET KC_INLINE V KC(next)(V average, V value, V alpha) {
    return average + (value - average) * alpha;
}

KC_TARGET KC_INLINE V KC(true_range)(V high, V low, V previous) {
    return KC(larger)(
        high - low, KC(larger)(KC(abs)(high - previous), KC(abs)(low - previous)));
}

/* Write an output of the lanes `want`. */
KC_TARGET KC_INLINE void KC(put)(
    const KcSweep *w, int output, Py_ssize_t lane, int h, V value, unsigned want, int commit
) {
    double *live = w->live[output] + lane + h, *closed = w->closed[output] + lane + h;
    if (want != KC_ALL) {
        const M member = KC(load)(kc_limits[want] + h) > 0.0;
        KC(store)(live, KC(pick)(member, value, KC(load)(live)));
        if (commit) KC(store)(closed, KC(pick)(member, value, KC(load)(closed)));
        return;
    }
    KC(store)(live, value);
    if (commit) KC(store)(closed, value);
}

/* The slot all lanes of a block are at; -1 if they are not at the same one. */
KC_TARGET KC_INLINE Py_ssize_t KC(beat)(const KcSweep *w, Py_ssize_t b, const double *slots) {
    const unsigned there = b + 1 == w->count ? w->tail : KC_ALL;
    unsigned equal = 0;
    HALVES(h) {
        const M same = KC(load)(slots + h) == slots[0];
        equal |= KC_BITS(same) << h;
    }
    return (equal & there) == there ? (Py_ssize_t)slots[0] : -1;
}

/* Ring values of lanes that are at slots of their own, `ahead` rows further. */
KC_TARGET KC_INLINE V KC(gather)(const double *ring, const double *slots, int h, int ahead) {
    V v;
    for (int k = h; k < h + KC_WIDTH; k++)
        v[k - h] = ring[((Py_ssize_t)slots[k] + ahead) * KC_BLOCK + k];
    return v;
}

KC_TARGET KC_INLINE void KC(scatter)(
    double *ring, const double *slots, int h, V value, unsigned which
) {
    for (int k = h; k < h + KC_WIDTH; k++)
        if (which >> (k - h) & 1) ring[(Py_ssize_t)slots[k] * KC_BLOCK + k] = value[k - h];
}

/* Write value to the ring and move the slot on, for the lanes in `ok`. Lanes out of step are not
   at the ring's end: those are left to the scalar kernel. */
KC_TARGET KC_INLINE void KC(push)(
    double *ring, Py_ssize_t period, double *slots, Py_ssize_t beat, int h, V value, M ok
) {
    const V slot = KC(load)(slots + h);
    V next = slot + 1.0;
    if (beat >= 0) {
        double *row = ring + beat * KC_BLOCK + h;
        KC(store)(row, KC(pick)(ok, value, KC(load)(row)));
        if (beat + 1 == period) next = KC(all)(0.0);
    } else {
        KC(scatter)(ring, slots, h, value, KC_BITS(ok));
    }
    KC(store)(slots + h, KC(pick)(ok, next, slot));
}

#define LOOP(name) \
    KC_TARGET KC_INLINE unsigned KC(name)( \
        const KcSweep *sweep, const double **x, Py_ssize_t first, Py_ssize_t last, unsigned want, \
        const int commit \
    )

/* For each block: its lanes that are stepped here (`on`), its state, and where its inputs are. */
#define EACH_BLOCK \
    const KcSweep w = *sweep; \
    const V nan = KC(all)(NAN); \
    unsigned all_left = 0; \
    for (Py_ssize_t b = first; b < last; b++) { \
        const unsigned on = want & w.warm[b]; \
        const double *limit = kc_limits[on]; \
        const Py_ssize_t lane = b * KC_BLOCK, at = (b - first) * KC_BLOCK; \
        double *s = w.blocks + b * w.size; \
        unsigned left = want & ~on;

#define END_BLOCK \
        w.left[b] = left; \
        all_left |= left; \
    } \
    return all_left;

#define USABLE(v) (KC(abs)(v) <= KC(load)(limit + h))
#define ROW(n) (s + (n) * KC_BLOCK)
#define INPUT(n) KC(load)(x[n] + at + h)
#define PUT(output, value) KC(put)(&w, output, lane, h, KC(pick)(ok, value, nan), want, commit)
#define KEEP(n, value, old) KC(store)(ROW(n) + h, KC(pick)(ok, value, old))
/* Lanes that want more than the common case: not `ok`, but left. */
#define LEAVE(which) do { \
    const M those = (which) & ok; \
    left |= KC_BITS(those) << h; \
    ok &= ~those; \
} while (0)

LOOP(ema) {
    const V alpha = KC(all)(sweep->a);
    EACH_BLOCK
    HALVES(h) {
        const V value = INPUT(0), before = KC(load)(ROW(0) + h);
        const M ok = USABLE(value);
        const V now = KC(next)(before, value, alpha);
        if (commit) KEEP(0, now, before);
        PUT(0, now);
    }
    END_BLOCK
}

LOOP(rsi) {
    const V alpha = KC(all)(sweep->a), flat = KC(all)(sweep->b), none = KC(all)(0.0);
    EACH_BLOCK
    HALVES(h) {
        const V value = INPUT(0), previous = KC(load)(ROW(2) + h);
        const V gain = KC(load)(ROW(0) + h), loss = KC(load)(ROW(1) + h);
        const M ok = USABLE(value);
        const V change = value - previous;
        const V up = KC(next)(gain, KC(larger)(change, none), alpha);
        const V down = KC(next)(loss, KC(larger)(-change, none), alpha);
        const V total = up + down;
        if (commit) {
            KEEP(0, up, gain);
            KEEP(1, down, loss);
            KEEP(2, value, previous);
        }
        PUT(0, KC(pick)(total != none, 100.0 * (up / total), flat));
    }
    END_BLOCK
}

LOOP(macd) {
    const V quick = KC(all)(sweep->a), slow = KC(all)(sweep->b), smooth = KC(all)(sweep->c);
    EACH_BLOCK
    HALVES(h) {
        const V value = INPUT(0);
        const V a = KC(load)(ROW(0) + h), b = KC(load)(ROW(1) + h), c = KC(load)(ROW(2) + h);
        const M ok = USABLE(value);
        const V fast_now = KC(next)(a, value, quick), slow_now = KC(next)(b, value, slow);
        const V line = fast_now - slow_now;
        const V signal = KC(next)(c, line, smooth);
        if (commit) {
            KEEP(0, fast_now, a);
            KEEP(1, slow_now, b);
            KEEP(2, signal, c);
        }
        PUT(0, line);
        PUT(1, signal);
        PUT(2, line - signal);
    }
    END_BLOCK
}

LOOP(atr) {
    const V alpha = KC(all)(sweep->a);
    EACH_BLOCK
    HALVES(h) {
        const V high = INPUT(0), low = INPUT(1), close = INPUT(2);
        const V average = KC(load)(ROW(0) + h), previous = KC(load)(ROW(1) + h);
        const M ok = USABLE(high) & USABLE(low) & USABLE(close);
        const V now = KC(next)(average, KC(true_range)(high, low, previous), alpha);
        if (commit) {
            KEEP(0, now, average);
            KEEP(1, close, previous);
        }
        PUT(0, now);
    }
    END_BLOCK
}

LOOP(adx) {
    const V share = KC(all)(sweep->a), none = KC(all)(0.0);
    EACH_BLOCK
    HALVES(h) {
        const V high = INPUT(0), low = INPUT(1), close = INPUT(2);
        const V before_high = KC(load)(ROW(0) + h), before_low = KC(load)(ROW(1) + h);
        const V before_close = KC(load)(ROW(2) + h), average = KC(load)(ROW(6) + h);
        const V pluses = KC(load)(ROW(3) + h), minuses = KC(load)(ROW(4) + h);
        const V ranges = KC(load)(ROW(5) + h);
        M ok = USABLE(high) & USABLE(low) & USABLE(close);
        const V up = high - before_high, down = before_low - low;
        const V plus = pluses - pluses * share
            + KC(pick)(up > down, KC(larger)(up, none), none);
        const V minus = minuses - minuses * share
            + KC(pick)(down > up, KC(larger)(down, none), none);
        const V range = ranges - ranges * share + KC(true_range)(high, low, before_close);
        const V plus_di = 100.0 * (plus / range), minus_di = 100.0 * (minus / range);
        const V total = plus_di + minus_di;
        LEAVE(~((range > none) & (total > none)));
        const V now = KC(next)(average, 100.0 * (KC(abs)(plus_di - minus_di) / total), share);
        if (commit) {
            KEEP(0, high, before_high);
            KEEP(1, low, before_low);
            KEEP(2, close, before_close);
            KEEP(3, plus, pluses);
            KEEP(4, minus, minuses);
            KEEP(5, range, ranges);
            KEEP(6, now, average);
            KEEP(7, plus_di, KC(load)(ROW(7) + h));
            KEEP(8, minus_di, KC(load)(ROW(8) + h));
        }
        PUT(0, now);
    }
    END_BLOCK
}

/* A step of a sum over a ring; lanes that want more than the common case are added to `rare`. */
KC_TARGET KC_INLINE V KC(slide)(
    const double *ring, Py_ssize_t period, const double *slots, Py_ssize_t beat, int h, V sum,
    V value, M *rare
) {
    if (beat + 1 == period) {
        V total = KC(all)(0.0);
        for (Py_ssize_t i = 0; i < beat; i++) total += KC(load)(ring + i * KC_BLOCK + h);
        return total + value;
    }
    const V gone = beat >= 0 ? KC(load)(ring + beat * KC_BLOCK + h) : KC(gather)(ring, slots, h, 0);
    const V now = sum + (value - gone);
    *rare |= KC(abs)(now) * 1024.0 < KC(abs)(gone);
    if (beat < 0) *rare |= KC(load)(slots + h) + 1.0 == (double)period;
    return now;
}

/* The largest of a window, not yet of the lanes that end a block of it out of step. */
KC_TARGET KC_INLINE V KC(top)(
    const double *ring, Py_ssize_t period, const double *slots, Py_ssize_t beat, int h, V prefix,
    M *rare
) {
    if (beat < 0) *rare |= KC(load)(slots + h) + 1.0 == (double)period;
    return KC(larger)(
        prefix,
        beat >= 0 ? KC(load)(ring + (beat + 1) * KC_BLOCK + h) : KC(gather)(ring, slots, h, 1));
}

/* Keep a value for the largest of a window; its new prefix. */
KC_TARGET KC_INLINE V KC(keep_top)(
    double *ring, Py_ssize_t period, double *slots, Py_ssize_t beat, int h, V prefix, V value, M ok
) {
    if (beat + 1 == period) {
        V suffix = value;
        prefix = KC(all)(-INFINITY);
        for (Py_ssize_t i = beat - 1; i >= 0; i--) {
            double *row = ring + i * KC_BLOCK + h;
            suffix = KC(larger)(suffix, KC(load)(row));
            KC(store)(row, KC(pick)(ok, suffix, KC(load)(row)));
        }
    }
    KC(push)(ring, period, slots, beat, h, value, ok);
    return prefix;
}

/* Windows: rows of fields, then slot and count, then the ring. */

LOOP(sma) {
    EACH_BLOCK
    double *slots = ROW(1), *ring = ROW(3);
    const Py_ssize_t beat = KC(beat)(&w, b, slots);
    HALVES(h) {
        const V value = INPUT(0), sum = KC(load)(ROW(0) + h);
        M ok = USABLE(value), rare = {0};
        const V now = KC(slide)(ring, w.period[0], slots, beat, h, sum, value, &rare);
        LEAVE(rare);
        if (commit) {
            KEEP(0, now, sum);
            KC(push)(ring, w.period[0], slots, beat, h, value, ok);
        }
        PUT(0, now / (double)w.period[0]);
    }
    END_BLOCK
}

LOOP(wma) {
    const double loss = 1024.0;
    EACH_BLOCK
    double *slots = ROW(2), *ring = ROW(4);
    const Py_ssize_t beat = KC(beat)(&w, b, slots);
    HALVES(h) {
        const V value = INPUT(0), sum = KC(load)(ROW(0) + h), weighted = KC(load)(ROW(1) + h);
        M ok = USABLE(value);
        V total, weight;
        if (beat + 1 == w.period[0]) {
            total = weight = KC(all)(0.0);
            for (Py_ssize_t i = 0; i < beat; i++) {
                const V one = KC(load)(ring + i * KC_BLOCK + h);
                total += one;
                weight += one * (double)(i + 1);
            }
            total += value;
            weight += value * (double)w.period[0];
        } else {
            const V gone = beat >= 0 ? KC(load)(ring + beat * KC_BLOCK + h)
                : KC(gather)(ring, slots, h, 0);
            weight = weighted + (value * (double)w.period[0] - sum);
            total = sum + (value - gone);
            M rare = KC(abs)(total) * loss < KC(abs)(gone);
            if (beat < 0) rare |= KC(load)(slots + h) + 1.0 == (double)w.period[0];
            LEAVE(rare);
        }
        if (commit) {
            KEEP(0, total, sum);
            KEEP(1, weight, weighted);
            KC(push)(ring, w.period[0], slots, beat, h, value, ok);
        }
        PUT(0, weight / w.a);
    }
    END_BLOCK
}

LOOP(bb) {
    const V share = KC(all)(sweep->a), deviations = KC(all)(sweep->b), none = KC(all)(0.0);
    const double loss = 64.0;
    EACH_BLOCK
    double *slots = ROW(4), *ring = ROW(6);
    const Py_ssize_t beat = KC(beat)(&w, b, slots);
    const double period = w.period[0];
    HALVES(h) {
        const V value = INPUT(0);
        const V base = KC(load)(ROW(0) + h), average = KC(load)(ROW(1) + h);
        const V spread = KC(load)(ROW(2) + h), top = KC(load)(ROW(3) + h);
        M ok = USABLE(value);
        V origin, mean, squares, peak;
        if (beat + 1 == w.period[0]) {
            V total = none, rest = none, off;
            squares = none;
            origin = value;
            for (Py_ssize_t i = 0; i < beat; i++)
                total += KC(load)(ring + i * KC_BLOCK + h) - value;
            mean = total / period;
            for (Py_ssize_t i = 0; i < beat; i++) {
                off = KC(load)(ring + i * KC_BLOCK + h) - value - mean;
                rest += off;
                squares += off * off;
            }
            off = none - mean;
            rest += off;
            squares += off * off;
            squares -= rest * rest / period;
            squares = KC(pick)(squares > none, squares, none);
            peak = squares;
        } else {
            const V now = value - base;
            const V gone = (beat >= 0 ? KC(load)(ring + beat * KC_BLOCK + h)
                : KC(gather)(ring, slots, h, 0)) - base;
            origin = base;
            mean = average + (now - gone) * share;
            squares = spread + (now - gone) * ((now - mean) + (gone - average));
            peak = KC(larger)(top, squares);
            M rare = ~(squares * loss >= peak);
            if (beat < 0) rare |= KC(load)(slots + h) + 1.0 == period;
            LEAVE(rare);
        }
        if (commit) {
            KEEP(0, origin, base);
            KEEP(1, mean, average);
            KEEP(2, squares, spread);
            KEEP(3, peak, top);
            KC(push)(ring, w.period[0], slots, beat, h, value, ok);
        }
        const V variance = squares * share;
        const V reach = deviations * KC_ROOT(variance), middle = origin + mean;
        PUT(0, middle + reach);
        PUT(1, middle);
        PUT(2, middle - reach);
        PUT(3, KC(pick)(middle != none, 2.0 * reach / middle, nan));
    }
    END_BLOCK
}

/* Largest of the window; `sign` -1 makes it the smallest, of what has its sign turned. */
KC_TARGET KC_INLINE unsigned KC(extreme)(
    const KcSweep *sweep, const double **x, Py_ssize_t first, Py_ssize_t last, unsigned want,
    const int commit, const int smallest
) {
    EACH_BLOCK
    double *slots = ROW(1), *ring = ROW(3);
    const Py_ssize_t beat = KC(beat)(&w, b, slots);
    HALVES(h) {
        const V given = INPUT(0), before = KC(load)(ROW(0) + h);
        M ok = USABLE(given), rare = {0};
        const V value = smallest ? -given : given;
        const V prefix = KC(larger)(before, value);
        const V best = KC(top)(ring, w.period[0], slots, beat, h, prefix, &rare);
        LEAVE(rare);
        if (commit) {
            const V now = KC(keep_top)(ring, w.period[0], slots, beat, h, prefix, value, ok);
            KEEP(0, now, before);
        }
        PUT(0, smallest ? -best : best);
    }
    END_BLOCK
}

LOOP(highest) { return KC(extreme)(sweep, x, first, last, want, commit, 0); }

LOOP(lowest) { return KC(extreme)(sweep, x, first, last, want, commit, 1); }

LOOP(stoch) {
    const V still = KC(all)(sweep->a), none = KC(all)(0.0);
    EACH_BLOCK
    const Py_ssize_t beat = KC(beat)(&w, b, ROW(4));
    const Py_ssize_t k_beat = KC(beat)(&w, b, ROW(6)), d_beat = KC(beat)(&w, b, ROW(7));
    double *tops = ROW(w.ring[0]), *bottoms = ROW(w.ring[1]);
    double *k_ring = ROW(w.ring[2]), *d_ring = ROW(w.ring[3]);
    HALVES(h) {
        const V high = INPUT(0), low = INPUT(1), close = INPUT(2), below = -low;
        const V high_before = KC(load)(ROW(0) + h), low_before = KC(load)(ROW(1) + h);
        const V k_before = KC(load)(ROW(2) + h), d_before = KC(load)(ROW(3) + h);
        M ok = USABLE(high) & USABLE(low) & USABLE(close), rare = {0};
        const V high_prefix = KC(larger)(high_before, high);
        const V low_prefix = KC(larger)(low_before, below);
        const V top = KC(top)(tops, w.period[0], ROW(4), beat, h, high_prefix, &rare);
        const V bottom = -KC(top)(bottoms, w.period[1], ROW(5), beat, h, low_prefix, &rare);
        const V raw = KC(pick)(
            top - bottom > still, 100.0 * ((close - bottom) / (top - bottom)), none);
        const V k_sum = KC(slide)(k_ring, w.period[2], ROW(6), k_beat, h, k_before, raw, &rare);
        const V k = k_sum / (double)w.period[2];
        const V d_sum = KC(slide)(d_ring, w.period[3], ROW(7), d_beat, h, d_before, k, &rare);
        LEAVE(rare);
        if (commit) {
            const V high_now = KC(keep_top)(
                tops, w.period[0], ROW(4), beat, h, high_prefix, high, ok);
            const V low_now = KC(keep_top)(
                bottoms, w.period[1], ROW(5), beat, h, low_prefix, below, ok);
            KEEP(0, high_now, high_before);
            KEEP(1, low_now, low_before);
            KEEP(2, k_sum, k_before);
            KEEP(3, d_sum, d_before);
            KC(push)(k_ring, w.period[2], ROW(6), k_beat, h, raw, ok);
            KC(push)(d_ring, w.period[3], ROW(7), d_beat, h, k, ok);
        }
        PUT(0, k);
        PUT(1, d_sum / (double)w.period[3]);
    }
    END_BLOCK
}

#define PAIR(name) \
    KC_TARGET static unsigned KC(name##_update)( \
        const KcSweep *w, const double **x, Py_ssize_t first, Py_ssize_t last, unsigned want \
    ) { return KC(name)(w, x, first, last, want, 1); } \
    KC_TARGET static unsigned KC(name##_preview)( \
        const KcSweep *w, const double **x, Py_ssize_t first, Py_ssize_t last, unsigned want \
    ) { return KC(name)(w, x, first, last, want, 0); }

PAIR(ema)
PAIR(rsi)
PAIR(macd)
PAIR(atr)
PAIR(adx)
PAIR(sma)
PAIR(wma)
PAIR(bb)
PAIR(highest)
PAIR(lowest)
PAIR(stoch)

/* In the order of the shapes in blocks.pyx. */
static const KcLoop KC(table)[][2] = {
    {KC(sma_preview), KC(sma_update)},
    {KC(ema_preview), KC(ema_update)},
    {KC(wma_preview), KC(wma_update)},
    {KC(rsi_preview), KC(rsi_update)},
    {KC(macd_preview), KC(macd_update)},
    {KC(bb_preview), KC(bb_update)},
    {KC(atr_preview), KC(atr_update)},
    {KC(adx_preview), KC(adx_update)},
    {KC(highest_preview), KC(highest_update)},
    {KC(lowest_preview), KC(lowest_update)},
    {KC(stoch_preview), KC(stoch_update)},
};

#undef V
#undef M
#undef HALVES
#undef LOOP
#undef EACH_BLOCK
#undef END_BLOCK
#undef USABLE
#undef ROW
#undef INPUT
#undef PUT
#undef KEEP
#undef LEAVE
#undef PAIR
