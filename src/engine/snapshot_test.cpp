#include "engine/snapshot.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "base/xxh64.h"

namespace serval {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

// Values published with the specification and its reference implementation.
TEST(Xxh64, KnownAnswers) {
  EXPECT_EQ(xxh64({}), 0xEF46DB3751D8E999ULL);
  EXPECT_EQ(xxh64(bytes_of("a")), 0xD24EC4F1A98C6E5BULL);
  EXPECT_EQ(xxh64(bytes_of("abc")), 0x44BC2CF5AD770999ULL);
  EXPECT_EQ(xxh64(bytes_of("Nobody inspects the spammish repetition")), 0xFBCEA83C8A378BF1ULL);
}

TEST(Xxh64, PiecesDoNotMatter) {
  const std::string text(1000, 'q');
  for (size_t piece = 1; piece < 70; ++piece) {
    Xxh64 hash(5);
    for (size_t at = 0; at < text.size(); at += piece) hash.update(text.substr(at, piece));
    hash.update(std::span<const std::byte>());
    EXPECT_EQ(hash.digest(), xxh64(bytes_of(text), 5));
  }
}

TEST(Snapshot, EveryTruncationAndEveryFlippedByteIsNoticed) {
  const std::string path =
      (std::filesystem::path(::testing::TempDir()) / (std::to_string(getpid()) + "s.kv")).string();
  SnapshotHeader header{{1, "shape", "f16", "numerics"}, std::vector<TokenId>(70, 3), 2, 16};
  {
    SnapshotWriter writer(path, header);
    writer.add_block(bytes_of("0123456789abcdef"));
    writer.add_block(bytes_of("fedcba9876543210"));
    writer.commit();
  }
  std::ifstream in(path, std::ios::binary);
  const std::string good((std::istreambuf_iterator<char>(in)), {});
  const auto opens = [&](const std::string& bytes) {
    std::ofstream(path, std::ios::binary) << bytes;
    try {
      const SnapshotReader reader(path);
      std::byte block[16];
      for (int i = 0; i < reader.header().blocks; ++i) reader.read_block(i, block);
      return true;
    } catch (const Error&) {
      return false;
    }
  };
  EXPECT_TRUE(opens(good));
  for (size_t n = 0; n < good.size(); ++n) {
    EXPECT_FALSE(opens(good.substr(0, n))) << n;
    std::string flipped = good;
    flipped[n] = static_cast<char>(flipped[n] ^ 1);
    EXPECT_FALSE(opens(flipped)) << n;
  }
  // Exchanged blocks, each with its own checksum.
  std::string exchanged = good;
  std::swap_ranges(exchanged.end() - 48, exchanged.end() - 24, exchanged.end() - 24);
  EXPECT_FALSE(opens(exchanged));
  std::filesystem::remove(path);
}

// ---- Killed at any system call

void save(const std::string& path, char letter, size_t block_bytes) {
  const int blocks = 3;
  SnapshotWriter writer(path, {{1, "shape", "f16", "numerics"},
                               std::vector<TokenId>(blocks * 32, letter),
                               blocks,
                               block_bytes});
  const std::string block(block_bytes, letter);
  for (int i = 0; i < blocks; ++i) writer.add_block(bytes_of(block));
  writer.commit();
}

// Which save() the file holds, proven to its last byte. Throws Error when it is none.
char letter_of(const std::string& path) {
  const SnapshotReader reader(path);
  const auto letter = static_cast<char>(reader.header().tokens.front());
  std::vector<std::byte> block(reader.header().block_bytes);
  for (int i = 0; i < reader.header().blocks; ++i) {
    reader.read_block(i, block);
    for (const std::byte b : block) EXPECT_EQ(static_cast<char>(b), letter);
  }
  return letter;
}

struct Outcome {
  bool traced = true;         // this machine lets us trace a child
  bool ended = false;         // the child was through before it was killed
  bool acknowledged = false;  // it had said that it saved
};

// A child saves and says so; it is killed at its `stop`-th stop, at the entry or the exit of a
// system call.
Outcome save_and_kill(const std::string& path, size_t block_bytes, int stop) {
  int pipe_ends[2];
  EXPECT_EQ(::pipe(pipe_ends), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    if (::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) ::_exit(77);
    ::raise(SIGSTOP);
    save(path, 'n', block_bytes);
    ::_exit(::write(pipe_ends[1], "", 1) == 1 ? 0 : 1);
  }
  ::close(pipe_ends[1]);
  Outcome outcome;
  int status = 0;
  ::waitpid(child, &status, 0);
  outcome.traced = WIFSTOPPED(status);
  for (int n = 0; outcome.traced && n < stop && !outcome.ended; ++n) {
    ::ptrace(PTRACE_SYSCALL, child, nullptr, nullptr);
    ::waitpid(child, &status, 0);
    outcome.ended = !WIFSTOPPED(status);
  }
  if (outcome.traced && !outcome.ended) {
    ::kill(child, SIGKILL);
    ::waitpid(child, &status, 0);
  }
  char byte;
  outcome.acknowledged = ::read(pipe_ends[0], &byte, 1) == 1;
  ::close(pipe_ends[0]);
  return outcome;
}

TEST(Snapshot, KilledAtAnySystemCallTheOldOrTheNewOneIsWhole) {
  const auto folder =
      std::filesystem::path(::testing::TempDir()) / (std::to_string(getpid()) + "killed");
  std::filesystem::create_directory(folder);
  const std::string path = (folder / "s.kv").string();
  for (const size_t block_bytes : {16, 100'000, 3'000'000}) {  // one write and many
    int old_ones = 0, new_ones = 0;
    for (int stop = 1;; ++stop) {
      save(path, 'o', block_bytes);
      const Outcome outcome = save_and_kill(path, block_bytes, stop);
      if (!outcome.traced) GTEST_SKIP() << "a child cannot be traced here";
      const char found = letter_of(path);
      EXPECT_TRUE(found == 'n' || (found == 'o' && !outcome.acknowledged)) << stop;
      ++(found == 'n' ? new_ones : old_ones);
      if (outcome.ended) break;
    }
    // open, write, sync, rename, sync of the folder, each with two stops, and some of them after
    // the file has its name.
    EXPECT_GE(old_ones, 8);
    EXPECT_GE(new_ones, 3);
  }
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace serval
