// The index is a trie laid out flat: a multimap from hash(parent, tokens) to records, in which a
// hit compares parent, domain and tokens. It is rebuilt by scanning the record headers; a record
// whose parent is gone can never be reached and is left out. Ids are never reused: a record copied
// forward keeps its own, so its children still find it.
#include "kvdisk/disk_cache.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

#include "base/check.h"
#include "base/file.h"
#include "base/xxh64.h"

namespace serval {
namespace {

namespace fs = std::filesystem;
using SteadyClock = std::chrono::steady_clock;

constexpr std::string_view kPrefix = "segment-", kSuffix = ".kv";
constexpr uint64_t kBatchBytes = uint64_t{16} << 20;  // between two syncs
constexpr uint64_t kSegmentBytes = uint64_t{256} << 20;
constexpr double kRateWeight = 0.1;  // of the newest read

uint64_t successor_key(uint64_t parent, uint64_t domain, std::span<const TokenId> tokens) {
  return xxh64(std::as_bytes(tokens), parent != 0 ? parent : ~domain);
}

std::string segment_name(uint64_t number) {
  return fmt::format("{}{:012x}{}", kPrefix, number, kSuffix);
}

std::optional<uint64_t> segment_number(std::string_view name) {
  if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix)) return {};
  name.remove_prefix(kPrefix.size());
  name.remove_suffix(kSuffix.size());
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number, 16);
  if (error != std::errc() || end != name.data() + name.size()) return {};
  return number;
}

uint64_t choose_segment_bytes(uint64_t max_bytes, uint64_t record_bytes) {
  const uint64_t wanted = std::min(max_bytes / 8, std::max(kSegmentBytes, max_bytes / 256));
  return std::max(wanted, record_bytes + 4096);
}

}  // namespace

DiskCache::DiskCache(const DiskCacheConfig& config)
    : config_(config),
      record_bytes_(Segment::kRecordHeader + config.kind.block_bytes),
      segment_bytes_(choose_segment_bytes(config.max_bytes, record_bytes_)) {
  std::error_code error;
  if (fs::create_directories(config_.folder, error)) {
    fs::permissions(config_.folder, fs::perms::owner_all, error);
  } else if (error) {
    throw Error(ErrorCode::kIo,
                fmt::format("{}: cannot be made: {}", config_.folder, error.message()));
  }
  lock_folder();
  scan_folder();
  if (read_only_reason_.empty() && config_.max_bytes < 2 * segment_bytes_) {
    read_only_reason_ = fmt::format("{} bytes hold no block; give it at least {}",
                                    config_.max_bytes, 2 * segment_bytes_);
  }
  if (read_only_reason_.empty()) writer_ = std::thread([this] { write_loop(); });
}

DiskCache::~DiskCache() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  if (writer_.joinable()) writer_.join();
  if (lock_descriptor_ >= 0) ::close(lock_descriptor_);
}

void DiskCache::lock_folder() {
  const std::string path = config_.folder + "/lock";
  lock_descriptor_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (lock_descriptor_ >= 0 && ::flock(lock_descriptor_, LOCK_EX | LOCK_NB) == 0) return;
  const int error = errno;
  read_only_reason_ = error == EWOULDBLOCK
                          ? "another process writes to it"
                          : "it cannot be locked: " + std::generic_category().message(error);
}

void DiskCache::scan_folder() {
  const bool writable = read_only_reason_.empty();
  std::error_code error;
  for (fs::directory_iterator it(config_.folder, error), end; !error && it != end;
       it.increment(error)) {
    const auto number = segment_number(it->path().filename().string());
    if (!number) continue;
    Stored stored{it->path().string(),
                  Segment::open(it->path().string(), *number, config_.kind, writable)};
    std::error_code ignored;
    const uintmax_t size = it->file_size(ignored);
    stored.bytes = ignored ? 0 : size;
    stored_.emplace(*number, std::move(stored));
  }
  if (error) throw Error(ErrorCode::kIo, config_.folder + ": cannot be read: " + error.message());
  std::vector<std::pair<Segment::Found, std::shared_ptr<Segment>>> found;
  for (auto& [number, stored] : stored_) {
    next_number_ = number + 1;
    if (stored.segment == nullptr) continue;
    for (const Segment::Found& each : stored.segment->scan())
      found.push_back({each, stored.segment});
    stored.bytes = stored.segment->size();
  }
  for (const auto& [number, stored] : stored_) stats_.bytes += stored.bytes;
  // A parent's id is always smaller, but a copied one stands in a later file than its children.
  std::stable_sort(found.begin(), found.end(), [](const auto& a, const auto& b) {
    return a.first.record.id < b.first.record.id;
  });
  for (const auto& [each, segment] : found) {
    const KvRecord& record = each.record;
    next_id_ = std::max(next_id_, record.id + 1);
    const bool reachable = record.parent == 0 || index_.contains(record.parent);
    if (reachable && !index_.contains(record.id)) add(record, segment, each.offset);
  }
}

void DiskCache::add(const KvRecord& record, const std::shared_ptr<Segment>& segment,
                    uint64_t offset) {
  index_[record.id] = {record, segment, offset};
  if (segment != nullptr) ++stats_.records;
  successors_.emplace(successor_key(record.parent, record.domain, record.tokens), record.id);
}

void DiskCache::forget(uint64_t id) {
  const auto found = index_.find(id);
  if (found == index_.end()) return;
  const KvRecord& record = found->second.record;
  auto [at, end] =
      successors_.equal_range(successor_key(record.parent, record.domain, record.tokens));
  for (; at != end; ++at) {
    if (at->second != id) continue;
    successors_.erase(at);
    break;
  }
  if (found->second.segment != nullptr) --stats_.records;
  index_.erase(found);
}

const DiskCache::Entry* DiskCache::lookup(uint64_t parent, uint64_t domain,
                                          std::span<const TokenId> tokens) const {
  auto [at, end] = successors_.equal_range(successor_key(parent, domain, tokens));
  for (; at != end; ++at) {
    const Entry& entry = index_.at(at->second);
    const KvRecord& record = entry.record;
    if (record.parent == parent && record.domain == domain &&
        std::equal(tokens.begin(), tokens.end(), record.tokens.begin(), record.tokens.end())) {
      return &entry;
    }
  }
  return nullptr;
}

std::string DiskCache::read_only_reason() const {
  const std::lock_guard lock(mutex_);
  return read_only_reason_;
}

uint64_t DiskCache::find(uint64_t parent, uint64_t domain, std::span<const TokenId> tokens) const {
  const std::lock_guard lock(mutex_);
  const Entry* entry = lookup(parent, domain, tokens);
  return entry == nullptr ? 0 : entry->record.id;
}

uint64_t DiskCache::put(uint64_t parent, uint64_t domain, std::span<const TokenId> tokens,
                        const std::function<void(std::span<std::byte>)>& fill) {
  SERVAL_CHECK(tokens.size() == kRecordTokens);
  KvRecord record;
  {
    const std::lock_guard lock(mutex_);
    if (const Entry* entry = lookup(parent, domain, tokens)) return entry->record.id;
    if (!read_only_reason_.empty() || (parent != 0 && !index_.contains(parent)) ||
        queued_bytes_ + config_.kind.block_bytes >
            std::max(config_.queue_bytes, config_.kind.block_bytes)) {
      ++stats_.dropped;
      return 0;
    }
    record.id = next_id_++;
    record.parent = parent;
    record.domain = domain;
    std::copy(tokens.begin(), tokens.end(), record.tokens.begin());
    queued_bytes_ += config_.kind.block_bytes;
    add(record, nullptr, 0);
  }
  std::vector<std::byte> payload(config_.kind.block_bytes);
  fill(payload);
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back({record, std::move(payload)});
  }
  wake_.notify_one();
  return record.id;
}

std::vector<uint64_t> DiskCache::match(uint64_t domain, std::span<const TokenId> tokens,
                                       int most) const {
  std::vector<uint64_t> chain;
  const std::lock_guard lock(mutex_);
  while (static_cast<int>(chain.size()) < most &&
         tokens.size() >= (chain.size() + 1) * kRecordTokens) {
    const uint64_t parent = chain.empty() ? 0 : chain.back();
    const Entry* entry =
        lookup(parent, domain, tokens.subspan(chain.size() * kRecordTokens, kRecordTokens));
    if (entry == nullptr || entry->segment == nullptr) break;
    chain.push_back(entry->record.id);
  }
  return chain;
}

bool DiskCache::read(uint64_t record, std::span<std::byte> payload) {
  std::shared_ptr<Segment> segment;
  uint64_t offset = 0;
  {
    const std::lock_guard lock(mutex_);
    const auto found = index_.find(record);
    if (found == index_.end() || found->second.segment == nullptr) return false;
    found->second.hit = true;
    segment = found->second.segment;
    offset = found->second.offset;
  }
  const auto begin = SteadyClock::now();
  const bool good = segment->read(offset, record, payload);
  const double seconds = std::chrono::duration<double>(SteadyClock::now() - begin).count();
  const double rate = static_cast<double>(payload.size()) / std::max(seconds, 1e-7);
  read_rate_.store(read_rate() + kRateWeight * (rate - read_rate()), std::memory_order_relaxed);
  const std::lock_guard lock(mutex_);
  if (good) {
    ++stats_.read;
    return true;
  }
  ++stats_.damaged;
  forget(record);
  return false;
}

DiskCacheStats DiskCache::stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

void DiskCache::flush() {
  std::unique_lock lock(mutex_);
  drained_.wait(lock, [&] { return !read_only_reason_.empty() || (queue_.empty() && !writing_); });
}

// ---- The writer

void DiskCache::write_loop() {
  for (;;) {
    std::deque<Queued> batch;
    {
      std::unique_lock lock(mutex_);
      writing_ = false;
      drained_.notify_all();
      wake_.wait(lock, [&] { return stopping_ || !queue_.empty(); });
      if (queue_.empty()) return;
      uint64_t bytes = 0;
      while (!queue_.empty() && (bytes == 0 || bytes + record_bytes_ <= kBatchBytes)) {
        batch.push_back(std::move(queue_.front()));
        queue_.pop_front();
        bytes += record_bytes_;
      }
      writing_ = true;
    }
    try {
      write(batch);
    } catch (const std::exception& error) {
      stop_writing(error.what());
      return;
    }
  }
}

// Nothing of the batch can be found before all of it is durable.
void DiskCache::write(std::deque<Queued>& batch) {
  while (!batch.empty()) {
    ensure_room();
    std::vector<std::pair<uint64_t, uint64_t>> places;
    while (!batch.empty() &&
           (places.empty() || active_->size() + record_bytes_ <= segment_bytes_)) {
      const uint64_t offset = active_->append(batch.front().record, batch.front().payload);
      places.emplace_back(batch.front().record.id, offset);
      batch.pop_front();
    }
    active_->sync();
    const std::lock_guard lock(mutex_);
    for (const auto& [id, offset] : places) {
      const auto found = index_.find(id);
      if (found == index_.end()) continue;
      found->second.segment = active_;
      found->second.offset = offset;
      ++stats_.records;
    }
    queued_bytes_ -= places.size() * config_.kind.block_bytes;
    stats_.written += places.size();
    stored_[active_->number()].bytes = active_->size();
    stats_.bytes = 0;
    for (const auto& [number, stored] : stored_) stats_.bytes += stored.bytes;
  }
}

void DiskCache::ensure_room() {
  if (active_ != nullptr && active_->size() + record_bytes_ <= segment_bytes_) return;
  open_segment();
  make_space();
}

void DiskCache::open_segment() {
  const uint64_t number = next_number_++;
  const std::string path = config_.folder + "/" + segment_name(number);
  active_ = Segment::create(path, number, config_.kind);
  stored_[number] = {path, active_, active_->size()};
}

// Leaves room for the segment that was just opened.
void DiskCache::make_space() {
  const auto total = [&] {
    uint64_t bytes = segment_bytes_ - active_->size();
    for (const auto& [number, stored] : stored_) bytes += stored.bytes;
    return bytes;
  };
  while (total() > config_.max_bytes && stored_.size() > 1) {
    auto victim = stored_.begin();
    for (auto it = stored_.begin(); it != stored_.end(); ++it) {
      if (it->second.segment != nullptr) continue;
      victim = it;  // what is not ours to read goes first
      break;
    }
    if (victim->second.segment == active_) return;
    if (victim->second.segment != nullptr) copy_hits(*victim->second.segment);
    if (::unlink(victim->second.path.c_str()) != 0 && errno != ENOENT) {
      throw Error(ErrorCode::kIo, victim->second.path + ": cannot be deleted: " +
                                      std::generic_category().message(errno));
    }
    stored_.erase(victim);
  }
}

// Hit records move to the active segment, at most as many as leave half of it free; the others of
// the victim are forgotten.
void DiskCache::copy_hits(const Segment& victim) {
  std::vector<std::pair<KvRecord, uint64_t>> hits;
  std::vector<uint64_t> gone;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, entry] : index_) {
      if (entry.segment.get() != &victim) continue;
      if (entry.hit) {
        hits.emplace_back(entry.record, entry.offset);
      } else {
        gone.push_back(id);
      }
    }
    for (const uint64_t id : gone) forget(id);
  }
  std::sort(hits.begin(), hits.end(),
            [](const auto& a, const auto& b) { return a.first.id < b.first.id; });
  std::vector<std::byte> payload(config_.kind.block_bytes);
  std::map<uint64_t, uint64_t> moved;
  for (const auto& [record, offset] : hits) {
    if (active_->size() + record_bytes_ > segment_bytes_ / 2) break;
    if (victim.read(offset, record.id, payload))
      moved[record.id] = active_->append(record, payload);
  }
  if (!moved.empty()) active_->sync();
  const std::lock_guard lock(mutex_);
  for (const auto& [record, offset] : hits) {
    const auto place = moved.find(record.id);
    const auto found = index_.find(record.id);
    if (found == index_.end()) continue;
    if (place == moved.end()) {
      forget(record.id);
    } else {
      found->second.segment = active_;
      found->second.offset = place->second;
      found->second.hit = false;
    }
  }
  stored_[active_->number()].bytes = active_->size();
}

// What was queued is forgotten; what is durable can still be read.
void DiskCache::stop_writing(const std::string& reason) {
  const std::lock_guard lock(mutex_);
  read_only_reason_ = reason;
  ++stats_.write_errors;
  stats_.dropped += queue_.size();
  queue_.clear();
  queued_bytes_ = 0;
  std::vector<uint64_t> lost;
  for (const auto& [id, entry] : index_) {
    if (entry.segment == nullptr) lost.push_back(id);
  }
  for (const uint64_t id : lost) forget(id);
  writing_ = false;
  drained_.notify_all();
}

}  // namespace serval
