// Quantiles of times without keeping them: counts in buckets whose bounds rise by a sixth of an
// octave (12 %), so a quantile is at most that far off.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>

namespace serval {

// `Count`: of a bucket, which stays at its maximum.
template <typename Count>
class TimeCounts {
 public:
  void add(double ms) {
    Count& count = counts_[bucket_of(ms)];
    if (count < std::numeric_limits<Count>::max()) ++count;
  }
  void add(const TimeCounts& other) {
    for (size_t i = 0; i < kBuckets; ++i) {
      counts_[i] = static_cast<Count>(std::min<uint64_t>(uint64_t{counts_[i]} + other.counts_[i],
                                                         std::numeric_limits<Count>::max()));
    }
  }

  // In ms; nullopt when nothing was added. `share`: 0.5 is the median.
  std::optional<double> quantile(double share) const {
    double total = 0;
    for (const Count count : counts_) total += count;
    if (total == 0) return std::nullopt;
    double left = share * total;
    for (size_t i = 0; i < kBuckets; ++i) {
      if (counts_[i] > 0 && left <= counts_[i]) {
        const double low = i == 0 ? 0 : bound(i - 1);
        return low + (bound(i) - low) * left / counts_[i];
      }
      left -= counts_[i];
    }
    return bound(kBuckets - 1);
  }

 private:
  static constexpr size_t kBuckets = 156;  // to an hour
  static constexpr double kFirstMs = 0.05;
  static constexpr double kPerOctave = 6;

  static size_t bucket_of(double ms) {
    if (!(ms > kFirstMs)) return 0;
    const double place = std::ceil(kPerOctave * std::log2(ms / kFirstMs));
    return static_cast<size_t>(std::min(place, double{kBuckets - 1}));
  }
  static double bound(size_t bucket) {
    return kFirstMs * std::exp2(static_cast<double>(bucket) / kPerOctave);
  }

  std::array<Count, kBuckets> counts_{};
};
using SmallTimeCounts = TimeCounts<uint16_t>;
using LargeTimeCounts = TimeCounts<uint32_t>;

// Something that adds up over the last minute, forgotten in slices of ten seconds.
template <typename T>
class LastMinute {
 public:
  // The slice of that moment. Time may stand still, or seem to go back a little.
  T& at(int64_t us) {
    advance(us);
    return slices_[static_cast<size_t>(newest_ % kSlices)];
  }
  template <typename Visit>
  void for_each(int64_t us, const Visit& visit) {
    advance(us);
    for (const T& slice : slices_) visit(slice);
  }

 private:
  static constexpr int64_t kSlices = 6;
  static constexpr int64_t kSliceUs = 10'000'000;

  void advance(int64_t us) {
    const int64_t slice = us / kSliceUs;
    if (slice > newest_ + kSlices) newest_ = slice - kSlices;
    while (newest_ < slice) slices_[static_cast<size_t>(++newest_ % kSlices)] = T();
  }

  std::array<T, kSlices> slices_{};
  int64_t newest_ = 0;
};

}  // namespace serval
