// Landlock (landlock(7)) takes a list of what stays allowed and is spoken to by bare system calls:
// the C library has no functions for it. seccomp(2) is used through libseccomp, which knows the
// numbers of the calls on every machine. Both need no privilege once no_new_privs is set.
#include "server/sandbox.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/landlock.h>
#include <linux/sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <memory>

#include "serval/error.h"

namespace serval {
namespace {

// ---- Files

// Newer than the headers of Debian 12; the numbers are the kernel's interface.
constexpr uint64_t kTruncate = uint64_t{1} << 14;     // version 3
constexpr uint64_t kDeviceIoctl = uint64_t{1} << 15;  // version 5
constexpr uint64_t kConnectTcp = 2;                   // version 4
constexpr uint64_t kScopeAll = 3;                     // version 6: abstract sockets, signals
struct RulesetAttributes {
  uint64_t files, network, scoped;
};

constexpr uint64_t kRead = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
constexpr uint64_t kWrite = kRead | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_FILE |
                            LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |
                            LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_REFER | kTruncate;
constexpr uint64_t kOfFiles = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE |
                              LANDLOCK_ACCESS_FS_EXECUTE | kTruncate | kDeviceIoctl;

// What the C library, OpenSSL and the engine look at while they start: shared libraries, names of
// hosts, the size of this machine and of our part of it.
constexpr const char* kSystemPaths[] = {"/usr",
                                        "/lib",
                                        "/lib64",
                                        "/etc/ld.so.cache",
                                        "/etc/nsswitch.conf",
                                        "/etc/hosts",
                                        "/etc/host.conf",
                                        "/etc/gai.conf",
                                        "/etc/resolv.conf",
                                        "/etc/localtime",
                                        "/etc/ssl",
                                        "/proc/self",
                                        "/proc/meminfo",
                                        "/proc/cpuinfo",
                                        "/proc/stat",
                                        "/sys/fs/cgroup",
                                        "/sys/devices/system",
                                        "/dev/null",
                                        "/dev/urandom"};

uint64_t all_of_version(int version) {
  uint64_t all = (uint64_t{1} << 13) - 1;
  if (version >= 2) all |= LANDLOCK_ACCESS_FS_REFER;
  if (version >= 3) all |= kTruncate;
  if (version >= 5) all |= kDeviceIoctl;
  return all;
}

Error system_error(std::string_view what) {
  return {ErrorCode::kIo, fmt::format("the sandbox cannot {}: {}; --no-sandbox starts without it",
                                      what, std::strerror(errno))};
}

void allow(int ruleset, const std::string& path, uint64_t access) {
  const int file = ::open(path.c_str(), O_PATH | O_CLOEXEC);
  if (file < 0) return;
  struct stat status = {};
  if (::fstat(file, &status) == 0 && !S_ISDIR(status.st_mode)) access &= kOfFiles;
  landlock_path_beneath_attr rule = {};
  rule.allowed_access = access;
  rule.parent_fd = file;
  const long outcome =
      ::syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
  ::close(file);
  if (outcome != 0) throw system_error("allow " + path);
}

int make_ruleset(int version) {
  RulesetAttributes attributes = {all_of_version(version), 0, 0};
  size_t size = sizeof(attributes.files);
  if (version >= 4) {
    // Sockets that listen are yet to be bound; seccomp ends that.
    attributes.network = kConnectTcp;
    size = sizeof(attributes.files) + sizeof(attributes.network);
  }
  if (version >= 6) {
    attributes.scoped = kScopeAll;
    size = sizeof(attributes);
  }
  const long ruleset = ::syscall(SYS_landlock_create_ruleset, &attributes, size, 0);
  if (ruleset < 0) throw system_error("make rules for files");
  return static_cast<int>(ruleset);
}

// ---- System calls

constexpr int kAllowed[] = {
    // memory and threads
    SCMP_SYS(brk), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise), SCMP_SYS(futex),
    SCMP_SYS(set_robust_list), SCMP_SYS(rseq), SCMP_SYS(sched_yield), SCMP_SYS(sched_getaffinity),
    SCMP_SYS(sched_setaffinity), SCMP_SYS(getcpu), SCMP_SYS(membarrier), SCMP_SYS(mlock),
    SCMP_SYS(munlock), SCMP_SYS(msync), SCMP_SYS(mincore), SCMP_SYS(gettid), SCMP_SYS(getpid),
    SCMP_SYS(exit), SCMP_SYS(exit_group), SCMP_SYS(tgkill), SCMP_SYS(set_tid_address),
    // sockets that exist, and those accepted from them
    SCMP_SYS(accept), SCMP_SYS(accept4), SCMP_SYS(recvfrom), SCMP_SYS(recvmsg), SCMP_SYS(sendto),
    SCMP_SYS(sendmsg), SCMP_SYS(shutdown), SCMP_SYS(getsockopt), SCMP_SYS(setsockopt),
    SCMP_SYS(getsockname), SCMP_SYS(getpeername),
    // waiting
    SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait), SCMP_SYS(epoll_ctl), SCMP_SYS(epoll_create1),
    SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(select), SCMP_SYS(pselect6), SCMP_SYS(eventfd2),
    SCMP_SYS(timerfd_create), SCMP_SYS(timerfd_settime), SCMP_SYS(pipe2), SCMP_SYS(pipe),
    SCMP_SYS(nanosleep), SCMP_SYS(clock_nanosleep), SCMP_SYS(restart_syscall),
    // files; Landlock says which
    SCMP_SYS(read), SCMP_SYS(readv), SCMP_SYS(pread64), SCMP_SYS(preadv), SCMP_SYS(write),
    SCMP_SYS(writev), SCMP_SYS(pwrite64), SCMP_SYS(pwritev), SCMP_SYS(open), SCMP_SYS(openat),
    SCMP_SYS(openat2), SCMP_SYS(close), SCMP_SYS(lseek), SCMP_SYS(stat), SCMP_SYS(fstat),
    SCMP_SYS(lstat), SCMP_SYS(newfstatat), SCMP_SYS(statx), SCMP_SYS(statfs), SCMP_SYS(fstatfs),
    SCMP_SYS(access), SCMP_SYS(faccessat), SCMP_SYS(faccessat2), SCMP_SYS(getdents64),
    SCMP_SYS(readlink), SCMP_SYS(readlinkat), SCMP_SYS(getcwd), SCMP_SYS(fsync),
    SCMP_SYS(fdatasync), SCMP_SYS(ftruncate), SCMP_SYS(fallocate), SCMP_SYS(flock),
    SCMP_SYS(fchmod), SCMP_SYS(rename), SCMP_SYS(renameat), SCMP_SYS(renameat2), SCMP_SYS(unlink),
    SCMP_SYS(unlinkat), SCMP_SYS(rmdir), SCMP_SYS(mkdir), SCMP_SYS(mkdirat), SCMP_SYS(linkat),
    SCMP_SYS(fcntl), SCMP_SYS(dup), SCMP_SYS(fadvise64), SCMP_SYS(readahead),
    SCMP_SYS(copy_file_range), SCMP_SYS(sync_file_range), SCMP_SYS(umask),
    // the time, chance, signals, what this process is and uses
    SCMP_SYS(clock_gettime), SCMP_SYS(clock_getres), SCMP_SYS(gettimeofday), SCMP_SYS(time),
    SCMP_SYS(getrandom), SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn),
    SCMP_SYS(sigaltstack), SCMP_SYS(getuid), SCMP_SYS(geteuid), SCMP_SYS(getgid), SCMP_SYS(getegid),
    SCMP_SYS(uname), SCMP_SYS(sysinfo), SCMP_SYS(getrusage), SCMP_SYS(times)};

using Filter = std::unique_ptr<void, decltype(&seccomp_release)>;

void require(int outcome, const char* what) {
  if (outcome == 0) return;
  errno = -outcome;
  throw system_error(what);
}

template <typename... Conditions>
void rule(const Filter& filter, uint32_t action, int call, Conditions... conditions) {
  require(seccomp_rule_add(filter.get(), action, call, sizeof...(conditions), conditions...),
          "filter system calls");
}

// Argument `index` of a call. (The library's macros are compound literals, which C++ lacks.)
scmp_arg_cmp when(unsigned index, scmp_compare how, uint64_t a, uint64_t b = 0) {
  return {index, how, a, b};
}

// Calls that are fine or not by what they ask for.
void add_conditions(const Filter& filter) {
  constexpr uint64_t kNewProcess = CLONE_VM | CLONE_THREAD;
  rule(filter, SCMP_ACT_ALLOW, SCMP_SYS(clone),
       when(0, SCMP_CMP_MASKED_EQ, kNewProcess, kNewProcess));
  // Its flags lie in memory, which a filter cannot read: "not known" makes the C library use clone.
  rule(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3));
  for (const int call : {SCMP_SYS(mmap), SCMP_SYS(mprotect)}) {
    rule(filter, SCMP_ACT_ALLOW, call, when(2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
  }
  for (const uint64_t request : {FIONBIO, FIONREAD, TCGETS, TIOCGWINSZ}) {
    rule(filter, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), when(1, SCMP_CMP_EQ, request));
  }
  // Reading limits, not changing them.
  rule(filter, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), when(2, SCMP_CMP_EQ, 0));
  rule(filter, SCMP_ACT_ALLOW, SCMP_SYS(prctl), when(0, SCMP_CMP_EQ, PR_SET_NAME));
  rule(filter, SCMP_ACT_ALLOW, SCMP_SYS(prctl), when(0, SCMP_CMP_EQ, PR_SET_VMA));
}

}  // namespace

int restrict_files(const SandboxFiles& files) {
  const long version =
      ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  if (version <= 0) return 0;
  const auto known = static_cast<int>(version);
  const uint64_t all = all_of_version(known);
  const int ruleset = make_ruleset(known);
  const std::unique_ptr<const int, void (*)(const int*)> closes(
      &ruleset, [](const int* descriptor) { ::close(*descriptor); });
  for (const char* path : kSystemPaths) {
    allow(ruleset, path, (kRead | LANDLOCK_ACCESS_FS_EXECUTE) & all);
  }
  for (const std::string& path : files.read) allow(ruleset, path, kRead & all);
  for (const std::string& path : files.write) allow(ruleset, path, kWrite & all);
  if (!files.socket_folder.empty()) {
    allow(ruleset, files.socket_folder,
          (LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_REMOVE_FILE) & all);
  }
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) throw system_error("give up privileges");
  if (::syscall(SYS_landlock_restrict_self, ruleset, 0) != 0) throw system_error("restrict files");
  return known;
}

bool restrict_system_calls() {
  if (::prctl(PR_GET_SECCOMP, 0, 0, 0, 0) < 0) return false;
  const struct rlimit none = {};
  ::setrlimit(RLIMIT_CORE, &none);
  const Filter filter(seccomp_init(SCMP_ACT_ERRNO(EPERM)), &seccomp_release);
  if (filter == nullptr) throw Error(ErrorCode::kOutOfMemory, "no memory for the sandbox");
  require(seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_TSYNC, 1), "reach all threads");
  // A tree instead of a list: the cost of a call no longer depends on its place here.
  require(seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2), "order its filter");
  for (const int call : kAllowed) rule(filter, SCMP_ACT_ALLOW, call);
  add_conditions(filter);
  require(seccomp_load(filter.get()), "filter system calls");
  return true;
}

}  // namespace serval
