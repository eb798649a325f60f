// Operations on one row: norms, activations, RoPE, and the transcendental functions they need.
//
// Sums over a row run in 16 lanes (element i in lane i % 16) that are added in a fixed tree.

// e^x. Cody-Waite reduction to |r| <= ln2 / 2, degree-6 polynomial, 2^n by exponent bits; relative
// error below 2e-7. Exactly 1 at 0; exactly 0 below -87, where results leave the normal range. NaN
// stays NaN: min and max give their second operand then.
static SERVAL_INLINE F32 exp_f32(F32 x) {
  const F32 clamped = min(set1(88.3F), max(set1(-87.3F), x));
  const F32 n = round_f32(mul(clamped, set1(1.44269504F)));
  F32 r = fma(n, set1(-0.693359375F), clamped);
  r = fma(n, set1(2.12194440e-4F), r);
  F32 p = set1(1.9875691500e-4F);
  p = fma(p, r, set1(1.3981999507e-3F));
  p = fma(p, r, set1(8.3334519073e-3F));
  p = fma(p, r, set1(4.1665795894e-2F));
  p = fma(p, r, set1(1.6666665459e-1F));
  p = fma(p, r, set1(5.0000001201e-1F));
  p = add(fma(mul(r, r), p, r), set1(1.0F));
  return zero_where_less(mul(p, power_of_two(to_i32(n))), x, -87.0F);
}

// tanh y = 1 - 2 / (e^2y + 1); absolute error below 2e-7.
static SERVAL_INLINE F32 tanh_f32(F32 y) {
  const F32 e = exp_f32(mul(y, set1(2.0F)));
  return sub(set1(1.0F), div(set1(2.0F), add(e, set1(1.0F))));
}

// out[i] = op(i, whole) for the vectors of a row.
#define SERVAL_FOR_ROW(n, whole, some) \
  do {                                 \
    int i = 0;                         \
    for (; i + 16 <= (n); i += 16) {   \
      whole;                           \
    }                                  \
    if (i < (n)) {                     \
      const int rest = (n)-i;          \
      some;                            \
    }                                  \
  } while (false)

static void norm(const float* x, int n, const NormJob& job, float* out) {
  F32 mean = zero_f32();
  if (job.layer_norm) {
    F32 sum = zero_f32();
    SERVAL_FOR_ROW(n, sum = add(sum, load_f32(x + i)), sum = add(sum, load_some(x + i, rest)));
    mean = set1(reduce_add(sum) / static_cast<float>(n));
  }
  F32 squares = zero_f32();
  {
    int i = 0;
    for (; i + 16 <= n; i += 16) {
      const F32 v = sub(load_f32(x + i), mean);
      squares = fma(v, v, squares);
    }
    for (; i < n; ++i) {  // one lane each, the others add nothing
      const F32 v = sub(load_some(x + i, 1), load_some(reinterpret_cast<const float*>(&mean), 1));
      squares = fma(v, v, squares);
    }
  }
  const float inverse = 1.0F / sqrt_f32(reduce_add(squares) / static_cast<float>(n) + job.epsilon);
  const F32 scale = set1(inverse);
  for (int i = 0; i < n; i += 16) {
    const int rest = n - i;
    const bool whole = rest >= 16;
    const F32 v = whole ? load_f32(x + i) : load_some(x + i, rest);
    const F32 w = whole ? load_f32(job.weight + i) : load_some(job.weight + i, rest);
    F32 y = mul(mul(sub(v, mean), scale), w);
    if (job.bias != nullptr) {
      y = add(y, whole ? load_f32(job.bias + i) : load_some(job.bias + i, rest));
    }
    if (whole) {
      store_f32(out + i, y);
    } else {
      store_some(out + i, rest, y);
    }
  }
}

static void add_row(const float* x, int n, float* inout) {
  SERVAL_FOR_ROW(
      n, store_f32(inout + i, add(load_f32(inout + i), load_f32(x + i))),
      store_some(inout + i, rest, add(load_some(inout + i, rest), load_some(x + i, rest))));
}

static void scale_row(float factor, int n, float* inout) {
  const F32 f = set1(factor);
  SERVAL_FOR_ROW(n, store_f32(inout + i, mul(load_f32(inout + i), f)),
                 store_some(inout + i, rest, mul(load_some(inout + i, rest), f)));
}

static SERVAL_INLINE F32 silu_f32(F32 x) {
  return div(x, add(set1(1.0F), exp_f32(sub(zero_f32(), x))));
}

// x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) = x / (1 + e^-2y)
static SERVAL_INLINE F32 gelu_tanh_f32(F32 x) {
  const F32 cube = mul(mul(x, x), x);
  const F32 y = mul(fma(cube, set1(0.044715F), x), set1(-2.0F * 0.79788456F));
  return div(x, add(set1(1.0F), exp_f32(y)));
}

// rows x `columns` (at most 16) of a product, `up` beside it or null, to rows of `out`. Rows are
// independent of each other, so their long chains of operations overlap.
template <F32 (*kFunction)(F32)>
static SERVAL_INLINE void activate(const ActivationJob& job) {
  const float* x = job.x;
  const float* up = job.up;
  float* out = job.out;
  for (int r = 0; r < job.rows; ++r, x += 16, out += job.stride) {
    F32 y = kFunction(load_f32(x));
    if (up != nullptr) {
      y = mul(y, load_f32(up));
      up += 16;
    }
    job.columns == 16 ? store_f32(out, y) : store_some(out, job.columns, y);
  }
}

static void silu(const ActivationJob& job) { activate<silu_f32>(job); }
static void gelu_tanh(const ActivationJob& job) { activate<gelu_tanh_f32>(job); }

// inout[r][i] += x[r][i] of a panel.
static void add_panel(const float* x, int rows, int columns, float* inout, int64_t stride) {
  for (int r = 0; r < rows; ++r, x += 16, inout += stride) {
    if (columns == 16) {
      store_f32(inout, add(load_f32(inout), load_f32(x)));
    } else {
      store_some(inout, columns, add(load_some(inout, columns), load_f32(x)));
    }
  }
}

static void add_bias(const float* bias, int rows, float* inout) {
  const F32 b = load_f32(bias);
  for (int r = 0; r < rows; ++r, inout += 16) store_f32(inout, add(load_f32(inout), b));
}

static SERVAL_INLINE F32 softcap_f32(F32 x, F32 cap, F32 inverse) {
  return mul(cap, tanh_f32(mul(x, inverse)));
}

static void softcap(float cap, int n, float* inout) {
  const F32 c = set1(cap);
  const F32 inverse = set1(1.0F / cap);
  SERVAL_FOR_ROW(n, store_f32(inout + i, softcap_f32(load_f32(inout + i), c, inverse)),
                 store_some(inout + i, rest, softcap_f32(load_some(inout + i, rest), c, inverse)));
}

// Rotates the leading `dims` of one head; cos and sin hold dims / 2 values.
static void rope(float* head, const float* cosine, const float* sine, int dims, bool halves) {
  const int pairs = dims / 2;
  if (!halves) {
    for (int i = 0; i < pairs; ++i) {
      const float a = head[2 * i];
      const float b = head[2 * i + 1];
      head[2 * i] = a * cosine[i] - b * sine[i];
      head[2 * i + 1] = a * sine[i] + b * cosine[i];
    }
    return;
  }
  for (int i = 0; i < pairs; ++i) {
    const float a = head[i];
    const float b = head[i + pairs];
    head[i] = a * cosine[i] - b * sine[i];
    head[i + pairs] = a * sine[i] + b * cosine[i];
  }
}
