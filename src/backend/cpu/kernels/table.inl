// The exported table of one instruction set. The including file defines kTableName,
// kNumericsId and the probes.

template <class Format>
static constexpr PlaneSpec plane_of() {
  if (Format::kMin) return {Format::kSubs, 0, true};
  if (effective_zero<Format>() != 0) return {Format::kSubs, effective_zero<Format>(), false};
  return {0, 0, false};
}

static constexpr PlaneSpec kNoPlane = {0, 0, false};

// In the order of DType.
static const KernelTable kTable = {
    kTableName,
    kNumericsId,
    {kNoPlane, kNoPlane, kNoPlane, plane_of<Q4_0>(), plane_of<Q4_1>(), plane_of<Q5_0>(),
     plane_of<Q5_1>(), plane_of<Q8_0>(), plane_of<Q2_K>(), plane_of<Q3_K>(), plane_of<Q4_K>(),
     plane_of<Q5_K>(), plane_of<Q6_K>(), plane_of<Iq4Nl>(), plane_of<Iq4Xs>(), plane_of<Mxfp4>()},
    kBulkTile,
    {multiply_float<FloatF32>, multiply_float<FloatF16>, multiply_float<FloatBf16>, multiply<Q4_0>,
     multiply<Q4_1>, multiply<Q5_0>, multiply<Q5_1>, multiply<Q8_0>, multiply<Q2_K>, multiply<Q3_K>,
     multiply<Q4_K>, multiply<Q5_K>, multiply<Q6_K>, multiply<Iq4Nl>, multiply<Iq4Xs>,
     multiply<Mxfp4>},
    {decode_float_row<FloatF32>, decode_float_row<FloatF16>, decode_float_row<FloatBf16>,
     decode_row<Q4_0>, decode_row<Q4_1>, decode_row<Q5_0>, decode_row<Q5_1>, decode_row<Q8_0>,
     decode_row<Q2_K>, decode_row<Q3_K>, decode_row<Q4_K>, decode_row<Q5_K>, decode_row<Q6_K>,
     decode_row<Iq4Nl>, decode_row<Iq4Xs>, decode_row<Mxfp4>},
    quantize,
    kRoundPairs,
    norm,
    add_row,
    add_panel,
    add_bias,
    scale_row,
    silu,
    gelu_tanh,
    softcap,
    rope,
    store_k,
    store_v,
    attend,
    merge,
    read_memory,
    dot_macs,
    fma_macs,
    kBf16Macs,
};
